"""Keep with a checkpoint the losses that are not logged yet, so that a resumed run logs what an unbroken one does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

if TYPE_CHECKING:
    from transformers import Trainer

STATE_KEY = "LossesSinceLog"
"""Where in the Trainer's `stateful_callbacks` it stands; no class has this name, so the Trainer rebuilds nothing."""


class LossesCallback(TrainerCallback):
    """Sum of the losses since the last log entry, and the step of that; rules of a run go by the logged mean."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take up what the checkpoint holds."""
        states: Any = state.stateful_callbacks
        stored = states.get(STATE_KEY) if isinstance(states, Mapping) and state.global_step else None
        found = stored.get("attributes") if isinstance(stored, Mapping) else None
        if found:
            self.trainer._tr_loss += float(found["sum"])
            self.trainer._globalstep_last_logged = int(found["logged_at"])

    def put_into_state(self) -> None:
        """Put it where the Trainer saves it with its state; all processes take part."""
        trainer, states = self.trainer, cast(Any, self.trainer.state.stateful_callbacks)
        sums = cast(torch.Tensor, trainer.accelerator.gather(trainer._tr_loss))
        found = {"sum": sums.mean().item(), "logged_at": trainer._globalstep_last_logged}
        states[STATE_KEY] = {"args": {}, "attributes": found}
