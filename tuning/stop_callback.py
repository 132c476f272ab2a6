"""Carry out a request to stop inside the Trainer: when a step is done with all that belongs to it, on all ranks."""

from __future__ import annotations

from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tuning.interruption import StopRequest


class StopCallback(TrainerCallback):
    """Save and stop after the step in which any rank was asked to.

    What the unbroken run does after that step is done before: its evaluation and, where an epoch ends, what follows an
    epoch. What only follows because the loop is left, is not: the Trainer takes any end of it for that of an epoch.

    It has to be the last callback, and so sees what the others have asked for.
    """

    def __init__(self, request: StopRequest) -> None:
        self.request = request
        self.saved_at: int | None = None
        self.epoch_ended_at: int | None = None

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """From the first step on a request waits for the end of a step; the base is measured before it."""
        self.request.waits = True

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop here, where no epoch ends."""
        if not _ends_epoch(state) and _any_rank(self.request.signum is not None, args):
            self._stop(args, state, control)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop after an evaluation in which the request came; those before and after the training are not looked at."""
        is_over = not _ends_epoch(state) or self.epoch_ended_at == state.global_step
        if self.request.waits and is_over and _any_rank(self.request.signum is not None, args):
            self._stop(args, state, control)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Stop after the last step of an epoch; what a stop has cut short is no epoch."""
        self.epoch_ended_at = state.global_step
        if self.request.stopped_at is not None:
            control.should_log = control.should_evaluate = control.should_save = False
        elif _any_rank(self.request.signum is not None, args):
            self._stop(args, state, control)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Note which step is saved already."""
        self.saved_at = state.global_step

    def _stop(self, args: TrainingArguments, state: TrainerState, control: TrainerControl) -> None:
        """Ask for a checkpoint; the last step gets one, too, from which the same command finds the run at its end."""
        control.should_save = control.should_save or control.should_evaluate or self.saved_at != state.global_step
        args.save_only_model = False
        if state.global_step < state.max_steps:
            args.save_total_limit = None  # with 1, the Trainer would remove this checkpoint for not being the best
            control.should_training_stop = True
            self.request.stopped_at = state.global_step


def _ends_epoch(state: TrainerState) -> bool:
    """Tell whether the step is the last of an epoch, or of the training: more belongs to it than to any other."""
    return state.global_step >= state.max_steps or float(state.epoch or 0.0).is_integer()


def _any_rank(asked: bool, args: TrainingArguments) -> bool:
    """Tell whether any rank was asked; ranks hear of a signal at different times and must stop at one step."""
    if args.world_size == 1:
        return asked
    flag = torch.tensor(int(asked), device=args.device)
    torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
    return bool(flag)
