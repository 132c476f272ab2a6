"""What the metrics of a Trainer are called in every tracker, and how fast the training goes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

_STAGES = ("eval", "test", "predict")
_PREFIXES = tuple(f"{stage}_" for stage in _STAGES)


class Speed:
    """Measure training steps alone, without the evaluations, savings and log entries between them."""

    def __init__(self) -> None:
        self.start(0)

    def start(self, samples_per_step: int) -> None:
        """Begin to measure; `samples_per_step` counts all processes."""
        self.samples_per_step = samples_per_step
        self._num_steps = 0
        self._seconds = 0.0
        self._num_tokens: float | None = None
        self.pause()

    def step(self) -> None:
        """Count one step."""
        now = time.perf_counter()
        self._seconds += now - self._mark
        self._num_steps += 1
        self._mark = now

    def pause(self) -> None:
        """Leave out the time since the last step."""
        self._mark = time.perf_counter()

    def lap(self, num_tokens: float | None = None) -> dict[str, float]:
        """Return the speed since the last lap; `num_tokens` is the number of tokens seen since the start."""
        steps, seconds = self._num_steps, self._seconds
        self._num_steps, self._seconds = 0, 0.0
        if not steps or seconds <= 0:
            return {}
        speed = {"train/step_seconds": seconds / steps}
        if self.samples_per_step:
            speed["train/samples_per_second"] = steps * self.samples_per_step / seconds
        if num_tokens is not None and self._num_tokens is not None:
            speed["train/tokens_per_second"] = (num_tokens - self._num_tokens) / seconds
        self._num_tokens = num_tokens
        return speed


def metric_names(logs: Mapping[str, Any]) -> dict[str, Any]:
    """Name what the Trainer logs: `eval_loss` is `eval/loss`, `train_runtime` `summary/runtime`, others `train/…`."""
    is_training = not any(key.startswith(_PREFIXES) for key in logs)
    closing = "train_runtime" in logs
    named = {_metric_name(key): value for key, value in logs.items() if key != "epoch"}
    if is_training and not closing and "epoch" in logs:
        named["train/epoch"] = logs["epoch"]
    return named


def _metric_name(key: str) -> str:
    if key == "total_flos":
        return "summary/total_flos"
    stage, _, name = key.partition("_")
    if stage in _STAGES and name:
        return f"{stage}/{name}"
    return f"summary/{name}" if stage == "train" and name else f"train/{key}"
