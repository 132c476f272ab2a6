"""The parts in which DeepSpeed keeps an optimizer: DeepSpeed alone reads them, and those of ZeRO-3 in any number."""

from __future__ import annotations

from pathlib import Path

from tuning.errors import UserError

_PARTS = "global_step*/*_optim_states.pt"
"""Source: DeepSpeed 0.19, DeepSpeedEngine.save_checkpoint."""
_ZERO3_WEIGHTS = "global_step*/zero_pp_rank_*_model_states.pt"
"""Files that ZeRO-3 alone writes; other stages keep whole weights. Source: DeepSpeed 0.19, _get_ckpt_name."""


def check_deepspeed_parts(checkpoint: Path, num_processes: int | None) -> None:
    """Refuse a checkpoint whose optimizer cannot be taken up by so many processes of DeepSpeed; None: without it.

    transformers would begin a new optimizer without a word, or fail inside of DeepSpeed.

    Raises:
        UserError: says how the run can go on.
    """
    num_parts = _num_parts(checkpoint)
    if num_parts == (num_processes or 0):
        return
    if num_processes is None:
        told = f"the optimizer is in {num_parts} parts of DeepSpeed, which it alone takes up"
    elif num_parts == 0:
        told = "the checkpoint is not of DeepSpeed, which takes up no other optimizer"
    elif not any(checkpoint.glob(_ZERO3_WEIGHTS)):
        told = f"the optimizer is in DeepSpeed's parts for {num_parts} processes, and there are {num_processes}"
        told += "; only those of ZeRO-3 can be divided anew"
    else:
        return
    how = f"or begin anew with its weights: model_name_or_path={checkpoint} resume_from_checkpoint=false"
    raise UserError(f"{checkpoint}: {told}. Go on as the run began, {how}")


def is_divided_otherwise(checkpoint: Path, num_processes: int) -> bool:
    """Tell whether the optimizer of a checkpoint is in DeepSpeed's parts for another number of processes."""
    return _num_parts(checkpoint) not in (0, num_processes)


def parts_folder(checkpoint: Path) -> Path:
    """Return the folder of a checkpoint that holds DeepSpeed's parts."""
    return next(checkpoint.glob(_PARTS)).parent


def _num_parts(checkpoint: Path) -> int:
    return len(list(checkpoint.glob(_PARTS)))
