"""Interrupt runs at random moments, and give the same command again: `python -m benchmarks.interruptions [--only …]`.

Writes the tables of docs/interruptions.md, and ends with 1 where a row is not as promised.
"""

from __future__ import annotations

import argparse
import fnmatch
import gc
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from benchmarks.interrupted_run import KINDS, NUM_STEPS, OTHERS, SAVE_STEPS, Command, RunProcess, Traces, write_inputs
from benchmarks.stores import ENVIRONMENT, ROOT, STORES
from benchmarks.tables import circumstances, replace_between_marks, table
from tuning.checkpoints.search import UNFINISHED

PAGE = ROOT / "docs" / "interruptions.md"
COMMAND = "python -m benchmarks.interruptions"
HEADER = (
    *("case", "kind", "the signal came", "after CPU s", "exit code", "step", "went on from", "steps twice"),
    *("same weights", "same losses", "runs", "states", "Aim"),
)
SIGNALS = (signal.SIGTERM, signal.SIGKILL)
NUM_MOMENTS = 40
_MOST_ATTEMPTS = 4
_POLL_SECONDS = 0.001


@dataclass(frozen=True)
class Case:
    """One interruption: its signal, and all else by its number, which is the seed of its moment, too."""

    signum: signal.Signals
    number: int

    @property
    def name(self) -> str:
        return f"{self.signum.name}/{self.number}"

    @property
    def kind(self) -> str:
        others = self.number - NUM_MOMENTS
        return list(OTHERS)[others] if others >= 0 else list(KINDS)[self.number % len(KINDS)]

    @property
    def moment(self) -> str:
        """Of five cases one is met while Python starts, and one while a checkpoint is saved."""
        if self.number >= NUM_MOMENTS:
            return "train"
        return {3: "start", 4: "save"}.get(self.number // len(KINDS) % 5, "any")

    @property
    def uses_aim(self) -> bool:
        return self.number % 10 == 7

    def chance(self, attempt: int) -> random.Random:
        return random.Random(f"{self.name}/{attempt}")


@dataclass
class Outcome:
    """What came of one case."""

    case: Case
    phase: str = ""
    seconds: float = 0.0
    codes: list[int | None] = field(default_factory=list)
    step: int = 0
    newest: str | None = None
    went_on_from: str | None = None
    num_twice: int = 0
    has_same_weights: bool = False
    has_same_losses: bool = False
    num_runs: int = 0
    states: list[str] = field(default_factory=list)
    aim: str = ""

    def problems(self) -> list[str]:
        """Name what is not as promised."""
        is_term = self.case.signum == signal.SIGTERM
        began = int((self.went_on_from or "-0").rpartition("-")[2])
        found = {
            "the exit code is wrong": self.codes[:1] != [75 if is_term else -signal.SIGKILL],
            "the same command did not end the run": len(self.codes) != 2 or self.codes[-1] != 0,
            "another checkpoint was used than the newest": self.went_on_from != self.newest,
            "a step was repeated": is_term and self.num_twice > 0,
            "the last checkpoint was not gone back to": self.num_twice != max(0, self.step - began),
            "the weights are others": not self.has_same_weights,
            "the losses are others": not self.has_same_losses,
            "there is not one run": self.num_runs != 1,
            "the state is not true": self.states[-1:] != ["finished"] or self._hides(),
            "Aim does not hold one run": self.aim not in ("", "1 run, finished, 0 twice"),
        }
        return [problem for problem, is_so in found.items() if is_so]

    def _hides(self) -> bool:
        """Tell whether a run that had begun did not say that it was stopped."""
        began = self.phase not in ("", "starting, or making tokens")
        return began and self.case.signum == signal.SIGTERM and self.states[:1] != ["preempted"]

    def row(self) -> list[object]:
        """Write it as cells of the table; what is not as promised stands in bold."""
        codes = ", ".join(map(str, self.codes))
        begin = [self.case.name, self.case.kind, self.phase, f"{self.seconds:.2f}", codes, self.step]
        same = ["yes" if is_same else "no" for is_same in (self.has_same_weights, self.has_same_losses)]
        end = [self.went_on_from or "none", self.num_twice, *same, self.num_runs, ", ".join(self.states), self.aim]
        cells: list[object] = [*begin, *end]
        return cells if not self.problems() else [f"**{cell}**" for cell in cells]


@dataclass(frozen=True)
class Unbroken:
    """The run that nobody interrupts: the seconds that it computes, and its results."""

    command: Command
    seconds: float
    weights: str
    losses: Mapping[str, Mapping[int, float]]

    @cached_property
    def start_seconds(self) -> float:
        """Seconds that a new Python computes until there is a run folder."""
        new = replace(self.command, folder=f"{self.command.folder}-new").start(is_new=True)
        seconds = 0.0
        while not new.command.run_dir.exists() and new.goes_on():
            seconds = max(seconds, new.seconds)
            time.sleep(_POLL_SECONDS)
        new.send(signal.SIGKILL)
        new.wait()
        return seconds


def cases(only: Sequence[str]) -> Iterator[Case]:
    """Yield all cases whose name or kind one of the shell patterns fits."""
    for number in range(NUM_MOMENTS + len(OTHERS)):
        for signum in SIGNALS:
            case = Case(signum, number)
            if not only or any(fnmatch.fnmatch(name, each) for each in only for name in (case.name, case.kind)):
                yield case


def unbroken(root: Path, kind: str) -> Unbroken:
    """Run a kind from its start to its end."""
    command = Command(root, kind, f"unbroken-{[*KINDS, *OTHERS].index(kind)}")
    process = command.start()
    seconds = 0.0
    while process.goes_on():
        seconds = max(seconds, process.seconds)
        time.sleep(_POLL_SECONDS)
    code = process.wait()
    traces = Traces(command.run_dir)
    if code != 0 or sorted(set(traces.steps)) != list(range(1, NUM_STEPS + 1)):
        raise RuntimeError(f"{process.log}: the unbroken run ended with {code}")
    return Unbroken(command, seconds, traces.weights(), traces.losses)


def interrupt(case: Case, root: Path, whole: Unbroken) -> Outcome:
    """Interrupt a run, and give the same command again until it ends."""
    store = STORES["aim-local"](root / f"aim-{case.name.replace('/', '-')}")
    store.prepare()
    options = {"trackers": store.tracker, **store.options} if case.uses_aim else {}
    for attempt in range(_MOST_ATTEMPTS):
        folder = f"{case.name.replace('/', '-')}.{attempt}"
        command = Command(root, case.kind, folder, tuple(f"{name}={value}" for name, value in options.items()))
        outcome = Outcome(case)
        first = command.start(is_new=case.moment == "start")
        _wait_for_moment(case, attempt, first, whole)
        outcome.phase, outcome.seconds = first.phase(), first.seconds
        first.send(case.signum)
        outcome.codes.append(first.wait())
        if outcome.codes != [0]:
            break  # a run that ended before its moment is tried again, with an earlier one
    traces = Traces(command.run_dir)
    outcome.step, outcome.newest = max(traces.steps, default=0), traces.newest
    again = command.start()
    outcome.codes.append(again.wait())
    outcome.went_on_from = again.went_on_from()
    _compare(outcome, Traces(command.run_dir), whole)
    if case.uses_aim:
        held = store.read()
        outcome.aim = f"{held.num_runs} run, {held.state}, {held.duplicates()} twice"
    return outcome


def _wait_for_moment(case: Case, attempt: int, process: RunProcess, whole: Unbroken) -> None:
    chance = case.chance(attempt)
    if case.moment == "save":
        drafts, step = process.command.run_dir / UNFINISHED, chance.randrange(SAVE_STEPS, NUM_STEPS, SAVE_STEPS)
        while process.goes_on() and not (drafts / f"checkpoint-{step}").exists():
            time.sleep(_POLL_SECONDS)
        time.sleep(chance.uniform(0, 0.05))
        return
    if case.moment == "train":
        step = chance.randrange(1, NUM_STEPS)
        while process.goes_on() and step not in Traces(process.command.run_dir).steps:
            time.sleep(_POLL_SECONDS)
        return
    longest = whole.start_seconds if case.moment == "start" else whole.seconds
    moment = chance.uniform(0, longest * 0.9**attempt)
    while process.goes_on() and process.seconds < moment:
        time.sleep(_POLL_SECONDS)


def _compare(outcome: Outcome, traces: Traces, whole: Unbroken) -> None:
    outcome.num_twice = len(traces.steps) - len(set(traces.steps))
    outcome.has_same_weights = traces.weights() == whole.weights
    outcome.has_same_losses = traces.losses == whole.losses
    outcome.num_runs, outcome.states = len(traces.run_ids), traces.states


def content(outcomes: Sequence[Outcome]) -> str:
    """Write what stands between the marks of the page."""
    num_good = sum(not outcome.problems() for outcome in outcomes)
    counts = Counter((outcome.case.signum, outcome.phase) for outcome in outcomes)
    phases = dict.fromkeys(outcome.phase for outcome in outcomes)
    summary = [[phase, *(counts[signum, phase] for signum in SIGNALS)] for phase in phases]
    verdict = f"{num_good} of {len(outcomes)} cases are as promised; others would stand in bold."
    by_phase = table(("the signal came", *(signum.name for signum in SIGNALS)), summary)
    rows = table(HEADER, (outcome.row() for outcome in outcomes))
    return "\n\n".join([f"{circumstances(COMMAND)} {verdict}", by_phase, rows])


def main(argv: Sequence[str] | None = None) -> int:
    """Try the cases, print a line for each, and write the tables; 0 when every row is as promised."""
    args = _parser().parse_args(argv)
    os.environ.update(ENVIRONMENT, OMP_NUM_THREADS="1", LOG_LEVEL="INFO", PYTHONPATH=str(ROOT))
    import_all()
    root = Path(args.folder or tempfile.mkdtemp(prefix="interruptions-"))
    root.mkdir(parents=True, exist_ok=True)
    write_inputs(root)
    whole: dict[str, Unbroken] = {}
    outcomes: list[Outcome] = []
    for case in cases(args.only):
        whole[case.kind] = whole.get(case.kind) or unbroken(root, case.kind)
        outcomes.append(interrupt(case, root, whole[case.kind]))
        print(f"{'; '.join(outcomes[-1].problems()) or 'as promised'}: {outcomes[-1].row()}", flush=True)
        if not args.only:
            replace_between_marks(args.page, "interruptions", content(outcomes))
    num_good = sum(not outcome.problems() for outcome in outcomes)
    print(f"{num_good} of {len(outcomes)} as promised; files in {root}")
    return 0 if num_good == len(outcomes) else 1


def import_all() -> None:
    """Import what a run imports, so that copies of this process need not."""
    import peft  # noqa: F401
    import torch
    import torch._dynamo

    import tuning.evaluation.scored_trainer
    import tuning.sft_trainer  # noqa: F401

    torch.set_num_threads(1)
    gc.freeze()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="SIGNAL/NUMBER",
        help="try only these, as shell patterns (SIGTERM/1?, 'LoRA*'); the page is left as it is",
    )
    parser.add_argument("--folder", help="keep all files of the runs here")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page whose tables are replaced")
    return parser


if __name__ == "__main__":
    sys.exit(main())
