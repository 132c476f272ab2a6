from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.interrupted_run import KINDS, OTHERS
from benchmarks.interruptions import HEADER, NUM_MOMENTS, Case, Outcome, cases, content

STOPPED = Outcome(
    Case(signal.SIGTERM, 0),
    phase="training",
    codes=[75, 0],
    step=5,
    newest="checkpoint-5",
    went_on_from="checkpoint-5",
    has_same_weights=True,
    has_same_losses=True,
    num_runs=1,
    states=["preempted", "finished"],
)
KILLED = replace(
    STOPPED,
    case=Case(signal.SIGKILL, 0),
    codes=[-9, 0],
    newest="checkpoint-3",
    went_on_from="checkpoint-3",
    num_twice=2,
    states=["finished"],
)


def test_each_signal_meets_each_kind_at_many_moments() -> None:
    found = list(cases([]))
    assert len(found) == 2 * (NUM_MOMENTS + len(OTHERS)) and {case.kind for case in found} == {*KINDS, *OTHERS}
    assert {case.moment for case in found if case.kind == "full"} == {"any", "start", "save"}


def test_some_can_be_chosen_by_pattern() -> None:
    assert [case.name for case in cases(["SIGTERM/3?"])] == [f"SIGTERM/{number}" for number in range(30, 40)]
    assert [case.name for case in cases(["streamed"])] == ["SIGTERM/42", "SIGKILL/42"]


@pytest.mark.parametrize("good", [STOPPED, KILLED])
def test_what_is_as_promised_has_no_problem(good: Outcome) -> None:
    assert good.problems() == [] and len(good.row()) == len(HEADER) and "**" not in str(good.row())


@pytest.mark.parametrize(
    "change",
    [
        {"codes": [143, 0]},
        {"codes": [75, 203]},
        {"went_on_from": "checkpoint-3"},
        {"num_twice": 1},
        {"has_same_weights": False},
        {"has_same_losses": False},
        {"num_runs": 2},
        {"states": ["failed", "finished"]},
        {"aim": "2 run, finished, 0 twice"},
    ],
)
def test_what_is_not_stands_in_bold(change: dict[str, Any]) -> None:
    bad = replace(STOPPED, **change)
    assert bad.problems() and "**" in str(bad.row()) and "0 of 1 cases" in content([bad])


@pytest.mark.slow
def test_runs_that_are_stopped_and_killed_while_they_save_go_on_to_the_same_weights(
    tmp_path: Path, project_root: Path
) -> None:
    only = ("--only", "SIGTERM/18", "--only", "SIGKILL/18")
    command = [sys.executable, "-m", "benchmarks.interruptions", "--folder", str(tmp_path / "runs"), *only]
    done = subprocess.run(command, cwd=project_root, capture_output=True, text=True, timeout=600)
    assert (done.returncode, done.stdout.count("as promised: ")) == (0, 2), done.stdout + done.stderr
