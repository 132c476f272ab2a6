"""A trainer without a model: the steps, pauses and ends of a training, so that a tracker's faults cost seconds to try.

`python -m benchmarks.fault_loop ORDER` with ORDER as JSON; it speaks with the process that breaks things through one
JSON object per line on standard output, and goes on after a pause when it gets a line on standard input.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tuning.trackers.tracker import Tracker
from tuning.trackers.tracker_factory import create_tracker

NUM_SCALARS = 10
STEP_SECONDS = 0.005


class Clock:
    """Measure the time of a training thread without its pauses, in seconds."""

    def __init__(self) -> None:
        self._begin = time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._begin

    def pause(self, step: int) -> None:
        """Say that a step is done, and stand still until told to go on."""
        begin = time.perf_counter()
        tell(event="paused", step=step)
        sys.stdin.readline()
        self._begin += time.perf_counter() - begin


def tell(**fields: Any) -> None:
    """Write one line for the process that watches."""
    print(json.dumps(fields), flush=True)


def train(tracker: Tracker, steps: Sequence[int]) -> Iterator[int]:
    """Track every step as a Trainer does that logs ten numbers, and yield its number."""
    for step in steps:
        time.sleep(STEP_SECONDS)
        tracker.track(scalars(step), step=step)
        yield step


def scalars(step: int) -> dict[str, float]:
    """Make the numbers of one step."""
    return {f"train/number_{index}": 1.0 / (step + index) for index in range(NUM_SCALARS)}


def baseline(num_steps: int) -> float:
    """Return the seconds that the same steps take with the tracker that does nothing."""
    clock = Clock()
    for _ in train(Tracker(), range(1, num_steps + 1)):
        pass
    return clock.seconds


def last_act(act: str) -> None:
    """End as the order says: go on to the end, fail, or vanish."""
    if act == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if act == "raise":
        raise RuntimeError("the loss is not finite")


def main(argv: Sequence[str]) -> int:
    """Run one order: `first`, `last`, `pauses`, `act`, `run_dir` and the options of `tracking`."""
    order = json.loads(argv[0])
    without = baseline(order["last"] - order["first"] + 1)
    clock = Clock()
    tracker = create_tracker(order["tracking"], Path(order["run_dir"]))
    tracker.set_params({"learning_rate": 1e-3, "attempt": order["first"]}, name="config")
    try:
        for step in train(tracker, range(order["first"], order["last"] + 1)):
            if step in order["pauses"]:
                clock.pause(step)
        tell(event="trained", extra_seconds=clock.seconds - without, logged=order["last"])
        last_act(order["act"])
    except RuntimeError as error:
        clock = Clock()
        tracker.finish("failed", error)
        tell(event="ended", end_seconds=clock.seconds)
        return 1
    clock = Clock()
    tracker.finish()
    tell(event="ended", end_seconds=clock.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
