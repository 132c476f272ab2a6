from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuning.acceleration.mixture import Mixture

REWARDS = st.lists(st.tuples(*[st.floats(0, 1e6)] * 3), max_size=20)


def mixture(eta: float = 0.5, gamma: float = 0.1) -> Mixture:
    return Mixture(["a", "b", "c"], [0.5, 0.3, 0.2], eta, gamma)


def test_shares_begin_as_those_of_the_rows_but_for_what_is_drawn_evenly() -> None:
    assert list(mixture(gamma=0).shares.values()) == pytest.approx([0.5, 0.3, 0.2])
    expected = [0.9 * share + 0.1 / 3 for share in (0.5, 0.3, 0.2)]
    assert list(mixture(gamma=0.1).shares.values()) == pytest.approx(expected)


@given(REWARDS)
def test_shares_are_shares_and_no_dataset_is_ever_left_out(rewards: list[tuple[float, ...]]) -> None:
    found = mixture()
    for step, each in enumerate(rewards):
        found.update(each, step + 1)
    assert sum(found.shares.values()) == pytest.approx(1)
    assert min(found.shares.values()) >= 0.1 / 3 - 1e-9


def test_the_dataset_with_the_highest_reward_is_drawn_more() -> None:
    found = mixture()
    before = found.shares
    found.update([1.0, 1.0, 3.0], 4)
    assert found.shares["c"] > before["c"] and found.shares["a"] < before["a"]


def test_shares_hold_from_the_step_they_are_given_for() -> None:
    found = mixture()
    first = found.at(0)
    found.update([1.0, 2.0, 3.0], 4)
    assert found.at(3) == first != found.at(4) == found.at(99)


@pytest.mark.parametrize("rewards", [[float("nan"), 1.0, 1.0], [float("inf"), 1.0, 1.0], [0.0, 0.0, 0.0]])
def test_rewards_that_say_nothing_change_nothing(rewards: list[float]) -> None:
    found = mixture()
    before = found.shares
    found.update(rewards, 1)
    assert found.shares == before


def test_a_restored_mixture_goes_on_as_the_saved_one() -> None:
    first, second = mixture(), mixture()
    first.update([1.0, 2.0, 3.0], 2)
    second.restore(json.loads(json.dumps(first.state())))
    for each in (first, second):
        each.update([3.0, 2.0, 1.0], 4)
    assert [first.at(step) for step in range(6)] == [second.at(step) for step in range(6)]


def test_a_mixture_of_other_datasets_is_refused() -> None:
    with pytest.raises(ValueError, match=r"this run has \['a', 'b', 'c'\]"):
        mixture().restore({**mixture().state(), "names": ["a", "b"]})
