"""The real trainer under the same faults: `python -m benchmarks.fault_training ORDER`, ordered as `fault_loop` is."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

import tuning
from benchmarks.fault_loop import Clock, last_act, tell

_SAVE_STEPS = 20
_LAST_STEP_BEFORE_AN_END = 50


class Pauses(TrainerCallback):
    """Stand still at some steps, end as the order says, and keep the seconds from the call to each step."""

    def __init__(self, pauses: Collection[int] = (), act: str = "finish", without: Pauses | None = None) -> None:
        self._pauses = pauses
        self._act = act
        self._without = without
        self.seconds: dict[int, float] = {}
        self.clock = Clock()

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Act after a step's numbers were tracked, which the tracker's callback did before this one."""
        if "loss" not in (kwargs.get("logs") or {}):
            return
        step = state.global_step
        if step in self._pauses:
            self.clock.pause(step)
        self.seconds[step] = self.clock.seconds
        is_last = step == (_LAST_STEP_BEFORE_AN_END if self._act != "finish" else state.max_steps)
        if is_last and self._without is not None:
            tell(event="trained", extra_seconds=self.seconds[step] - self._without.seconds[step], logged=step)
            self.clock = Clock()
            last_act(self._act)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start a clock for what comes after."""
        self.clock = Clock()


def settings(order: Mapping[str, Any], run_dir: Path, tracking: Mapping[str, Any]) -> dict[str, Any]:
    """Configure the training of a model with random weights on rows made up here."""
    rows = Path(order["run_dir"]).parent / "rows.jsonl"
    text = [json.dumps({"prompt": f"Say {number}: ", "completion": str(number)}) for number in range(64)]
    rows.write_text("\n".join(text))
    return {
        "model_name_or_path": order["model"],
        "train_from_scratch": True,
        "training_data_path": str(rows),
        "output_dir": str(run_dir),
        "max_steps": order["last"],
        "logging_steps": 1,
        "save_steps": _SAVE_STEPS,
        "eval_strategy": "no",
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1,
        "use_cpu": True,
        "tracking": dict(tracking),
    }


def train(order: Mapping[str, Any], run_dir: Path, tracking: Mapping[str, Any], watch: Pauses) -> float:
    """Train; returns the seconds from the end of training to the end of the run."""
    tuning.train(settings(order, run_dir, tracking), additional_callbacks=[watch])
    return watch.clock.seconds


def main(argv: Sequence[str]) -> int:
    """Run one order, after the same training without a tracker; a first short one takes the imports."""
    order = json.loads(argv[0])
    folder = Path(order["run_dir"])
    train({**order, "last": 2}, folder.with_name(f"warm-{order['first']}"), {}, Pauses())
    without = Pauses()
    end_without = train({**order, "first": 1}, folder.with_name(f"without-{order['first']}"), {}, without)
    watch = Pauses(order["pauses"], order["act"], without)
    try:
        end = train(order, folder, order["tracking"], watch)
    except RuntimeError:
        tell(event="ended", end_seconds=watch.clock.seconds)
        return 1
    tell(event="ended", end_seconds=max(0.0, end - end_without))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
