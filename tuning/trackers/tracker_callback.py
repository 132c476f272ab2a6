"""The one Trainer callback of all trackers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tuning.trackers.event_log_tracker import EventLogTracker
from tuning.trackers.trainer_metrics import Speed, metric_names


class TrackerCallback(TrainerCallback):
    """Record what the Trainer logs, with the right step and one set of names, and how fast it goes."""

    def __init__(self, tracker: EventLogTracker) -> None:
        self.tracker = tracker
        self.speed = Speed()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock; a resumed training starts at its checkpoint's step."""
        self._follow(state)
        self.speed.start(args.train_batch_size * args.gradient_accumulation_steps * args.world_size)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Count the step, from the end of the one before or of what came between."""
        self._follow(state)
        self.speed.step()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Record one log entry of the Trainer."""
        if not state.is_world_process_zero or not logs:
            return
        self._follow(state)
        metrics = metric_names(logs)
        if "train/loss" in metrics:
            metrics.update(self.speed.lap(logs.get("num_tokens")))
        self.tracker.track(metrics)
        self.speed.pause()

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Keep the time of an evaluation out of the step time."""
        self.speed.pause()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Record the checkpoint; its time is kept out of the step time."""
        if state.is_world_process_zero:
            self.tracker.log_checkpoint(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}")
        self.speed.pause()

    def _follow(self, state: TrainerState) -> None:
        self.tracker.global_step = state.global_step
        self.tracker.epoch = state.epoch
