"""Parts as ZeRO-3 writes them, made here; `python -m benchmarks.devices` goes on from real ones."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from tuning.errors import UserError

pytest.importorskip("deepspeed")

SHAPES = {"first": (2, 3), "second": (3,)}
"""Weights of two parts: the second has one padded value in the last part."""
FIRST, SECOND = [0.0, 1, 2, 3, 4, 5], [6.0, 7, 8]


def parts_of(checkpoint: Path, states: Iterable[str]) -> Path:
    """Write the parts of two processes; every state of the optimizer has the values of the weights."""
    import torch

    folder = checkpoint / "global_step3"
    folder.mkdir(parents=True)
    for rank, values in enumerate(([*FIRST[:3], *SECOND[:2]], [*FIRST[3:], *SECOND[2:], 0])):
        flat = torch.tensor(values)
        optimizer = {"state": {0: dict.fromkeys(states, flat)}, "param_groups": [{"lr": 0.1}]}
        state = {"zero_stage": 3, "fp32_flat_groups": [flat], "optimizer_state_dict": optimizer}
        name = f"zero_pp_rank_{rank}_mp_rank_00"
        torch.save({"optimizer_state_dict": state}, folder / f"{name}_optim_states.pt")
        shapes = {key: torch.Size(shape) for key, shape in SHAPES.items()}
        torch.save({"param_shapes": [shapes]}, folder / f"{name}_model_states.pt")
    return checkpoint


@pytest.mark.parametrize("state", ["fp32", "exp_avg", "exp_avg_sq"])
def test_parts_are_joined_without_what_pads_them(state: str, tmp_path: Path) -> None:
    import torch

    from tuning.sharding.universal import write_universal_form

    write_universal_form(parts_of(tmp_path / "checkpoint", ("exp_avg", "exp_avg_sq")), tmp_path / "universal")
    weights = tmp_path / "universal" / "global_step3" / "zero"
    found = [torch.load(weights / name / f"{state}.pt", weights_only=True).tolist() for name in SHAPES]
    assert found == [FIRST, SECOND]


def test_an_optimizer_of_another_kind_is_refused_and_nothing_of_it_is_left(tmp_path: Path) -> None:
    from accelerate import PartialState

    from tuning.sharding.universal import load_in_universal_form

    checkpoint = parts_of(tmp_path / "checkpoint", ["momentum_buffer"])
    with pytest.raises(UserError, match="has no 'exp_avg', and DeepSpeed divides only Adam and AdamW anew"):
        load_in_universal_form(None, checkpoint, tmp_path / "unfinished" / "universal", PartialState())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint"]
