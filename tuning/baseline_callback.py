"""Measure the base model when a run begins, and never when it goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class BaselineCallback(TrainerCallback):
    """Calls `measure` once the model stands ready on its devices and before its first step."""

    def __init__(self, measure: Callable[[], None]) -> None:
        self.measure = measure

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Measure, unless something is trained already."""
        if state.global_step == 0:
            self.measure()
