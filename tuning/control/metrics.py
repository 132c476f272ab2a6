"""The metrics that rules may read, and every value that they have had."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from tuning.config.schema import TuningConfig

PROGRESS = ("step", "epoch", "max_steps")
_LOGGED = ("loss", "grad_norm", "learning_rate", "mean_token_accuracy", "entropy", "num_tokens")
_SCORES = ("loss", "perplexity", "token_accuracy", "mean_token_accuracy")
_F1_SCORES = ("token_f1_micro", "token_f1_macro")


def known_metrics(config: TuningConfig) -> tuple[str, ...]:
    """List the metrics of a run that are equal on all of its processes; speeds and times are not."""
    scores = (*_SCORES, *(_F1_SCORES if config.evaluation.token_f1 else ()))
    return (*PROGRESS, *_LOGGED, *(f"eval_{name}" for name in scores))


class History:
    """Every value of each metric, oldest first, and how long the training has gone on."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}
        self.losses: list[float] = []
        """Training losses since the latest evaluation."""
        self.losses_before_evaluation: list[float] = []
        """Training losses between the latest evaluation and the one before it."""
        self.earlier_seconds = 0.0
        """Seconds of training before an interruption."""
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Return the seconds of training, those before an interruption included."""
        return self.earlier_seconds + time.monotonic() - self._began

    def latest(self, name: str) -> float | None:
        """Return a metric's newest value; None: it has none yet."""
        values = self.values.get(name)
        return values[-1] if values else None

    def move_to(self, step: int, epoch: float | None, max_steps: int) -> None:
        """Note how far the training is."""
        for name, value in zip(PROGRESS, (step, epoch or 0.0, max_steps), strict=True):
            self.values[name] = [float(value)]

    def add(self, entry: Mapping[str, Any]) -> None:
        """Add one entry of the Trainer's log."""
        for name, value in entry.items():
            if name in PROGRESS or isinstance(value, bool) or not isinstance(value, (int, float)):
                continue
            self.values.setdefault(name, []).append(float(value))
        if "eval_loss" in entry:
            self.losses_before_evaluation, self.losses = self.losses or self.losses_before_evaluation, []
        elif "loss" in entry:
            self.losses.append(float(entry["loss"]))
