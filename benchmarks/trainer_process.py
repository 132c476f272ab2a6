"""A training in a process of its own that stands still at its pauses while its surroundings are broken."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.stores import ROOT, environment

_LONGEST_RUN_SECONDS = 240.0


@dataclass(frozen=True)
class Plan:
    """Which steps a training takes, where it pauses, and which series it tracks at each step."""

    title: str
    module: str
    first: int
    last: int
    pauses: tuple[int, ...]
    series: tuple[str, ...]
    resume_first: int
    resume_last: int
    model: str | None = None

    def resumed(self) -> Plan:
        """Go on from a checkpoint, without a pause."""
        return replace(self, first=self.resume_first, last=self.resume_last, pauses=())


def loop() -> Plan:
    """Plan 300 steps without a model."""
    from benchmarks.fault_loop import scalars

    return Plan("loop", "benchmarks.fault_loop", 1, 300, (100, 200), tuple(scalars(1)), 201, 350)


def real_training(model: Path) -> Plan:
    """Plan 60 steps of the real training of a tiny model, with a checkpoint at each 20th."""
    series = ("train/loss", "train/learning_rate", "train/grad_norm")
    return Plan("real trainer", "benchmarks.fault_training", 1, 60, (20, 40), series, 41, 70, str(model))


class TrainerProcess:
    """The trainer's process, and what it says of itself."""

    def __init__(self, plan: Plan, run_dir: Path, tracking: Mapping[str, Any], act: str) -> None:
        run_dir.mkdir(parents=True, exist_ok=True)
        order = {
            "first": plan.first,
            "last": plan.last,
            "pauses": plan.pauses,
            "act": act,
            "run_dir": str(run_dir),
            "tracking": dict(tracking),
            "model": plan.model,
        }
        with (run_dir.parent / "trainer.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", plan.module, json.dumps(order)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=ROOT,
                env=environment(),
            )
        self.extra_seconds = 0.0
        self.end_seconds: float | None = None
        self.logged = 0

    def wait_for_pause(self, step: int) -> None:
        """Read on until the trainer stands still at a step; it may have ended instead."""
        while (told := self._next()) is not None:
            if told.get("event") == "paused" and told["step"] == step:
                return

    def go_on(self) -> None:
        """End the pause."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return

    def wait(self) -> None:
        """Read to the end of what it says, and wait for the process."""
        while self._next() is not None:
            pass
        self._process.wait(_LONGEST_RUN_SECONDS)

    def verdict(self, act: str) -> str:
        """Say whether the training ended as it was to end."""
        expected = {"finish": (0, "yes"), "kill": (-signal.SIGKILL, "killed"), "raise": (1, "raised")}
        code, word = expected[act]
        return word if self._process.returncode == code and self.logged else f"no ({self._process.returncode})"

    def _next(self) -> dict[str, Any] | None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith('{"event"'):
                told = json.loads(line)
                self.extra_seconds = told.get("extra_seconds", self.extra_seconds)
                self.end_seconds = told.get("end_seconds", self.end_seconds)
                self.logged = told.get("logged", self.logged)
                return told
        return None
