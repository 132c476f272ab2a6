"""Carry out a request to stop inside the Trainer: at the end of a step, on all ranks at the same one."""

from __future__ import annotations

from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tuning.interruption import StopRequest


class StopCallback(TrainerCallback):
    """Save and stop at the end of the step in which any rank was asked to."""

    def __init__(self, request: StopRequest) -> None:
        self.request = request

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """From the first step on a request waits for the end of a step; the base is measured before it."""
        self.request.is_training = True

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Ask for a checkpoint and the end of the training; the last step needs neither."""
        if state.global_step < state.max_steps and _any_rank(self.request.signum is not None, args):
            control.should_save = True
            control.should_training_stop = True
            self.request.stopped_at = state.global_step


def _any_rank(asked: bool, args: TrainingArguments) -> bool:
    """Tell whether any rank was asked; ranks hear of a signal at different times and must stop at one step."""
    if args.world_size == 1:
        return asked
    flag = torch.tensor(int(asked), device=args.device)
    torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
    return bool(flag)
