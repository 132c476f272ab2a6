from __future__ import annotations

from typing import Any

import pytest

from tuning.recommender.live_storages import LiveStorages, watch

pytestmark = pytest.mark.slow  # they import torch


def tensor(count: int) -> Any:
    import torch

    return torch.zeros(count, dtype=torch.uint8)


def test_a_storage_counts_from_its_first_view_until_the_last_is_gone() -> None:
    ledger = LiveStorages()
    ledger.enter("start", "weights")
    held = tensor(100)
    ledger.hold(held)
    ledger.hold(view := held.view(10, 10))
    assert ledger.held["weights"] == 100
    del held
    assert ledger.held["weights"] == 100
    del view
    assert ledger.held["weights"] == 0


def test_what_is_known_already_moves_to_the_part_that_is_named() -> None:
    ledger, held = LiveStorages(), tensor(100)
    ledger.enter("backward", "activations")
    ledger.hold(held)
    ledger.hold(held, "gradients")
    assert (ledger.held["activations"], ledger.held["gradients"]) == (0, 100)


def test_the_highest_point_of_each_moment_is_kept() -> None:
    ledger = LiveStorages()
    ledger.enter("first", "activations")
    with watch(ledger):
        large = tensor(1000)
        del large
        ledger.enter("second", "logits")
        small = tensor(10)
    assert ledger.highest["first"]["activations"] == 1000
    assert (ledger.highest["second"]["activations"], ledger.highest["second"]["logits"]) == (0, small.numel())


def test_gradients_of_a_shape_that_is_tied_are_added_up_in_place() -> None:
    import torch

    ledger = LiveStorages()
    ledger.enter("backward", "gradients")
    with watch(ledger, tied_shape=(100,)), torch.no_grad():
        one, other = tensor(100), tensor(100)
        total = one + other
    assert ledger.highest["backward"]["gradients"] == 200
    assert total.data_ptr() == one.data_ptr() != other.data_ptr()
