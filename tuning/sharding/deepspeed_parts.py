"""The parts in which DeepSpeed keeps an optimizer: DeepSpeed alone reads them, in as many processes as wrote them."""

from __future__ import annotations

from pathlib import Path

from tuning.errors import UserError

_PARTS = "global_step*/*_optim_states.pt"
"""Source: DeepSpeed 0.19, DeepSpeedEngine.save_checkpoint."""


def check_deepspeed_parts(checkpoint: Path, num_processes: int | None) -> None:
    """Refuse a checkpoint whose optimizer cannot be taken up by so many processes of DeepSpeed; None: without it.

    transformers would begin a new optimizer without a word, or fail inside of DeepSpeed.

    Raises:
        UserError: says how the run can go on.
    """
    num_parts = len(list(checkpoint.glob(_PARTS)))
    if num_parts == (num_processes or 0):
        return
    if num_processes is None:
        told = f"the optimizer is in {num_parts} parts of DeepSpeed, which it alone takes up"
    elif num_parts == 0:
        told = "the checkpoint is not of DeepSpeed, which takes up no other optimizer"
    else:
        told = f"the optimizer is in DeepSpeed's parts for {num_parts} processes, and there are {num_processes}"
    how = f"or begin anew with its weights: model_name_or_path={checkpoint} resume_from_checkpoint=false"
    raise UserError(f"{checkpoint}: {told}. Go on as the run began, {how}")
