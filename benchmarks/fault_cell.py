"""One store and one fault: `python -m benchmarks.fault_cell STORE FAULT FOLDER` tries them and prints what came of it.

A run of 300 steps is broken at step 100, repaired, replayed twice with `tune sync`, and resumed from step 201 on.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.faults_known import FAULTS, Fault
from benchmarks.read_stores import Held
from benchmarks.stores import STORES, Store, run_python, wait_for
from benchmarks.trainer_process import Plan, TrainerProcess, loop, real_training
from tuning.trackers.file_lock import file_lock
from tuning.trackers.run_files import RunFiles, read_json

FINISH_TIMEOUT = 5.0
"""Longest wait at the end of a run, seconds: six times shorter than by default."""
PATIENCE = 8.0
"""How long a sender tries on without progress, seconds; 300 by default."""
_LONGEST_DELIVERY_SECONDS = 90.0
_MOST_REPLAYS = 3


MOST_EXTRA_SECONDS = {"loop": 2.0, "real trainer": 6.0}
"""Seconds that a training may take longer than with the no-op tracker. Source: two trainings of the same kind differ by
0.5 s (loop) and up to 5 s (real trainer, of some 40 s, two thirds of them imports) on two busy cores."""
_END_SECONDS = 2.0
"""What ending takes beside the wait for the trackers."""


@dataclass
class Outcome:
    """What came of one fault."""

    store: str
    fault: str
    trainer: str
    finished: str = ""
    extra_seconds: float = 0.0
    end_seconds: float | None = None
    logged: int = 0
    kept_before_sync: int = 0
    kept: int = 0
    state_before_sync: str | None = None
    state: str | None = None
    duplicates: int = 0
    complete_syncs: int = 0
    logged_resumed: int = 0
    kept_resumed: int = 0
    duplicates_resumed: int = 0
    state_resumed: str | None = None
    expected_state: str = "finished"
    hurts: bool = False

    def problems(self) -> list[str]:
        """Name what is not as promised."""
        found = {
            "the training did not end as it should": self.finished.startswith("no"),
            "the training waited": self.extra_seconds > MOST_EXTRA_SECONDS[self.trainer],
            "the end waited longer than finish_timeout": (self.end_seconds or 0.0) > FINISH_TIMEOUT + _END_SECONDS,
            "nothing was broken": self.hurts and self.kept_before_sync == self.logged,
            "steps are missing": self.kept < self.logged or not self.logged,
            "the state is not true": self.state != self.expected_state,
            "something is there twice": self.duplicates > 0 or self.duplicates_resumed > 0,
            "a replay is not complete": self.complete_syncs < 2,
            "steps are missing after the resume": self.kept_resumed < self.logged_resumed or not self.logged_resumed,
            "the state after the resume is not true": self.state_resumed != "finished",
        }
        return [problem for problem, is_so in found.items() if is_so]


class Cell:
    """A store, a run folder and a fault, in a folder of their own."""

    def __init__(self, store: Store, fault: Fault, plan: Plan, folder: Path) -> None:
        self.store = store
        self.fault = fault
        self.plan = plan
        self.run_dir = folder / "run"
        self.files = RunFiles(self.run_dir)

    def run(self) -> Outcome:
        """Break, repair, replay and resume."""
        self.store.prepare()
        self.fault.at_start(self)
        outcome = Outcome(self.store.title, self.fault.title, self.plan.title)
        outcome.expected_state, outcome.hurts = self.fault.state, self.fault.hurts
        trainer = TrainerProcess(self.plan, self.run_dir, self._tracking(), self.fault.act)
        self._break(trainer)
        outcome.finished = trainer.verdict(self.fault.act)
        outcome.extra_seconds, outcome.end_seconds = trainer.extra_seconds, trainer.end_seconds
        outcome.logged = trainer.logged
        self._look_before_sync(outcome)
        self.fault.repair(self)
        self._sync_twice(outcome)
        self._resume(outcome)
        self.store.kill()
        return outcome

    def _break(self, trainer: TrainerProcess) -> None:
        first, second = self.plan.pauses
        trainer.wait_for_pause(first)
        if self.fault.delivers_first:
            self._wait_for_delivery(first)
        self.fault.at_first_pause(self)
        trainer.go_on()
        trainer.wait_for_pause(second)
        self.fault.at_second_pause(self)
        trainer.go_on()
        trainer.wait()

    def break_sender(self) -> None:
        """Kill the sender and everything that it has started."""
        from tuning.trackers.processes import kill_group

        for tracker in (self.store.tracker, None):
            pid = self._pid_of(tracker)
            if pid is not None:
                kill_group(pid)

    def _pid_of(self, tracker: str | None) -> int | None:
        import psutil

        last = ["-m", "tuning.trackers.feed"] if tracker else ["-m", "tuning.trackers.sync"]
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if words[1:3] == last and str(self.run_dir) in words:
                return process.pid
        return None

    def _tracking(self) -> dict[str, Any]:
        bounds = {"finish_timeout": FINISH_TIMEOUT, "sender_patience": PATIENCE}
        return {"trackers": [self.store.tracker], "experiment": "faults", **bounds, **self.store.options}

    def _wait_for_delivery(self, num_records: int) -> None:
        delivery = self.files.delivery(self.store.tracker)
        wait_for(lambda: read_json(delivery).get("sent", 0) > num_records, _LONGEST_DELIVERY_SECONDS)

    def _look_before_sync(self, outcome: Outcome) -> None:
        wait_for(self._sender_is_gone, _LONGEST_DELIVERY_SECONDS)
        held = self.store.read() if self.fault.is_readable else Held()
        outcome.kept_before_sync = held.kept(self.plan.series, outcome.logged)
        outcome.state_before_sync = held.state

    def _sender_is_gone(self) -> bool:
        with file_lock(self.files.sender_lock, wait=False) as free:
            return free

    def _sync_twice(self, outcome: Outcome) -> None:
        for _ in range(_MOST_REPLAYS):
            done = run_python("-m", "tuning.trackers.sync", str(self.run_dir), "--patience", "60")
            print(done.stdout + done.stderr, file=sys.stderr)
            outcome.complete_syncs += done.returncode == 0
            if outcome.complete_syncs == 2:
                break
        held = self.store.read()
        outcome.kept, outcome.state = held.kept(self.plan.series, outcome.logged), held.state
        outcome.duplicates = held.duplicates()

    def _resume(self, outcome: Outcome) -> None:
        trainer = TrainerProcess(self.plan.resumed(), self.run_dir, self._tracking(), "finish")
        trainer.wait()
        wait_for(self._sender_is_gone, _LONGEST_DELIVERY_SECONDS)
        held = self.store.read()
        outcome.logged_resumed = trainer.logged
        outcome.kept_resumed = held.kept(self.plan.series, trainer.logged)
        outcome.duplicates_resumed, outcome.state_resumed = held.duplicates(), held.state


def main(argv: Sequence[str]) -> int:
    """Try one fault on one store and print the outcome as JSON."""
    store, fault, folder, *model = argv
    place = Path(folder)
    database = place.parent / "empty-mlflow.db"
    plan = real_training(Path(model[0])) if model else loop()
    cell = Cell(STORES[store](place / "store", database), FAULTS[fault], plan, place)
    print(json.dumps(asdict(cell.run())))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
