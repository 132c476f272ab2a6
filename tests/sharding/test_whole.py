"""What is gathered of a model, with one process: the collectives are those of several."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    from torch import distributed

    distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def divided_linears() -> Any:
    """Make two layers that share a weight, divided by FSDP2."""
    import torch
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    return fully_shard(model, mesh=init_device_mesh("cpu", (1,)))


@pytest.mark.usefixtures("one_process")
def test_a_whole_model_is_gathered_and_shares_what_it_shared() -> None:
    from tuning.sharding.whole import gathered_model

    whole = gathered_model(divided_linears())
    assert sorted(whole) == ["0.bias", "0.weight", "1.weight"]
    assert whole["0.weight"] is whole["1.weight"]
    assert type(whole["0.bias"]).__name__ == "Tensor"


@pytest.mark.usefixtures("one_process")
def test_whole_weights_are_copied_into_a_divided_model() -> None:
    from tuning.sharding.whole import copy_into, gathered_model

    model = divided_linears()
    other = {name: weight + 1 for name, weight in gathered_model(model).items() if name != "1.weight"}
    copy_into(model, other)
    assert gathered_model(model)["1.weight"].equal(other["0.weight"])


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize(
    ("names", "told"),
    [(["0.weight"], "there is no weight 0.bias"), (["0.weight", "0.bias", "2"], "the model has no weight 2")],
)
def test_weights_of_another_model_are_refused(names: list[str], told: str) -> None:
    import torch

    from tuning.sharding.whole import copy_into

    with pytest.raises(KeyError, match=told):
        copy_into(divided_linears(), {name: torch.zeros(4, 4) for name in names})
