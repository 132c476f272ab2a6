"""Keep with a checkpoint what is counted and not logged yet, so that a resumed run logs what an unbroken one does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

if TYPE_CHECKING:
    from trl.trainer.sft_trainer import SFTTrainer

STATE_KEY = "LossesSinceLog"
"""Where in the Trainer's `stateful_callbacks` it stands; no class has this name, so the Trainer rebuilds nothing.

It was first only about losses, and checkpoints hold the name.
"""


class UnloggedCallback(TrainerCallback):
    """Sum of the losses and TRL's metrics since the last log entry, the step of that, and all tokens trained on.

    Rules of a run go by what is logged.
    """

    def __init__(self, trainer: SFTTrainer) -> None:
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
            self.trainer._total_train_tokens = int(found.get("num_tokens", 0))
            self.trainer._metrics["train"].update(
                {name: list(values) for name, values in found.get("metrics", {}).items()}
            )

    def put_into_state(self) -> None:
        """Put it where the Trainer saves it with its state; all processes take part."""
        trainer, states = self.trainer, cast(Any, self.trainer.state.stateful_callbacks)
        sums = cast(torch.Tensor, trainer.accelerator.gather(trainer._tr_loss))
        found = {
            "sum": sums.mean().item(),
            "logged_at": trainer._globalstep_last_logged,
            "num_tokens": trainer._total_train_tokens,
            "metrics": {name: [float(value) for value in values] for name, values in trainer._metrics["train"].items()},
        }
        states[STATE_KEY] = {"args": {}, "attributes": found}
