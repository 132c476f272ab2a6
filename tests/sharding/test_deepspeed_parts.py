from __future__ import annotations

from pathlib import Path

import pytest

from tuning.errors import UserError
from tuning.sharding.deepspeed_parts import check_deepspeed_parts, is_divided_otherwise


def checkpoint_of(folder: Path, num_processes: int, zero_stage: int = 3) -> Path:
    """Make the files by which the optimizer of so many processes is known."""
    (folder / "global_step3").mkdir()
    for rank in range(num_processes):
        part = f"zero_pp_rank_{rank}_mp_rank_00"
        (folder / "global_step3" / f"{part}_optim_states.pt").touch()
        (folder / "global_step3" / f"{part if zero_stage == 3 else 'mp_rank_00'}_model_states.pt").touch()
    return folder


@pytest.mark.parametrize(
    ("num_parts", "num_processes", "told"),
    [
        (2, None, "the optimizer is in 2 parts of DeepSpeed, which it alone takes up. Go on as the run began"),
        (0, 2, "the checkpoint is not of DeepSpeed, which takes up no other optimizer"),
        (2, 4, "parts for 2 processes, and there are 4; only those of ZeRO-3 can be divided anew"),
    ],
)
def test_an_optimizer_that_cannot_be_taken_up_is_refused(
    num_parts: int, num_processes: int | None, told: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=told):
        check_deepspeed_parts(checkpoint_of(tmp_path, num_parts, zero_stage=2), num_processes)


@pytest.mark.parametrize(("num_parts", "num_processes"), [(2, 2), (0, None), (2, 1), (1, 2), (3, 2)])
def test_others_are_taken_up(num_parts: int, num_processes: int | None, tmp_path: Path) -> None:
    check_deepspeed_parts(checkpoint_of(tmp_path, num_parts), num_processes)


@pytest.mark.parametrize(("num_parts", "is_otherwise"), [(0, False), (1, True), (2, False), (4, True)])
def test_parts_for_another_number_of_processes_are_divided_anew(
    num_parts: int, is_otherwise: bool, tmp_path: Path
) -> None:
    assert is_divided_otherwise(checkpoint_of(tmp_path, num_parts), 2) == is_otherwise
