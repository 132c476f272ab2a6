from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fault_cell import Outcome
from benchmarks.faults import HEADER, cells, content, row, run_cell, untried, why_not
from benchmarks.faults_known import FAULTS
from benchmarks.private_mounts import can_be_private, private
from benchmarks.read_stores import Held
from benchmarks.stores import STORES

GOOD = Outcome(
    "Aim local",
    "none",
    "loop",
    finished="yes",
    logged=3,
    kept=3,
    state="finished",
    complete_syncs=2,
    logged_resumed=5,
    kept_resumed=5,
    state_resumed="finished",
)
needs_mounts = pytest.mark.skipif(not can_be_private(), reason="needs namespaces")


def test_every_store_meets_every_fault() -> None:
    loops = [(store, fault) for store, fault, is_real in cells([]) if not is_real]
    assert loops == [(store, fault) for store in STORES for fault in FAULTS]


def test_some_can_be_chosen_by_pattern() -> None:
    assert list(cells(["aim-*/frozen"])) == [("aim-local", "frozen", False), ("aim-server", "frozen", False)]
    assert all(is_real for *_, is_real in cells(["real/*"])) and list(cells(["real/*"]))


def test_what_has_no_process_cannot_be_killed() -> None:
    assert why_not("mlflow-sqlite", "killed") == "none¹" and why_not("mlflow-server", "killed") is None
    assert len(untried("mlflow-sqlite", "killed", "none¹")) == len(HEADER)


def test_a_good_outcome_has_no_problem() -> None:
    assert GOOD.problems() == [] and len(row(GOOD)) == len(HEADER) and "**" not in str(row(GOOD))


@pytest.mark.parametrize(
    "change",
    [
        {"finished": "no (1)"},
        {"kept": 2},
        {"logged": 0},
        {"state": "running"},
        {"duplicates": 1},
        {"complete_syncs": 1},
        {"kept_resumed": 4},
        {"duplicates_resumed": 1},
        {"state_resumed": "killed"},
        {"hurts": True, "kept_before_sync": 3},
    ],
)
def test_each_broken_promise_is_a_problem_and_stands_in_bold(change: dict[str, Any]) -> None:
    outcome = replace(GOOD, **change)
    assert len(outcome.problems()) == 1 and str(row(outcome)[0]).startswith("**")


def test_the_content_says_how_many_rows_are_good() -> None:
    assert "1 of 2 rows" in content([row(GOOD)], 1, 2)


def test_a_step_counts_only_where_every_series_has_it() -> None:
    held = Held({"a": [1, 2, 3, 3], "b": [1, 3]}, num_runs=2)
    assert held.kept(["a", "b"], 3) == 2 and held.kept(["a", "c"], 3) == 0
    assert held.duplicates() == 2


@needs_mounts
def test_a_disk_of_its_own_can_be_full_and_read_only(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from benchmarks.private_mounts import *\n"
        "folder = Path(sys.argv[1]); mount_small(folder, 1); fill(folder)\n"
        "file = (folder / 'x').open('ab', buffering=0)\n"
        "for attempt, act in enumerate((lambda: None, lambda: make_room(folder))):\n"
        "    act()\n"
        "    try: print(file.write(b'x'))\n"
        "    except OSError as error: print(error.strerror)\n"
        "file.close(); mount_read_only(folder)\n"
        "try: (folder / 'y').touch()\n"
        "except OSError as error: print(error.strerror)\n"
    )
    done = run_private(code, tmp_path)
    assert done.stdout.splitlines() == ["No space left on device", "1", "Read-only file system"]
    assert list(tmp_path.iterdir()) == []


def run_private(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).parents[2])
    command = private([sys.executable, "-c", code, str(folder)])
    return subprocess.run(command, env={**os.environ, "PYTHONPATH": root}, capture_output=True, text=True, check=True)


@pytest.mark.slow
@pytest.mark.parametrize(("store", "fault"), [("aim-local", "trainer-killed"), ("wandb-online", "frozen")])
def test_a_fault_costs_nothing(store: str, fault: str, tmp_path: Path) -> None:
    outcome = run_cell(store, fault, tmp_path / "cell", None)
    assert outcome.problems() == [] and outcome.logged == 300


@pytest.mark.slow
@needs_mounts
def test_a_full_disk_costs_nothing(tmp_path: Path) -> None:
    outcome = run_cell("wandb-offline", "disk-full", tmp_path / "cell", None)
    assert outcome.problems() == [] and outcome.kept_before_sync < 300


def test_a_cell_that_breaks_is_an_outcome_too(tmp_path: Path) -> None:
    no_such_model = tmp_path / "model"
    outcome = run_cell("mlflow-sqlite", "trainer-killed", tmp_path / "cell", no_such_model)
    assert outcome.finished == "no (fault in the benchmark)" and outcome.problems()
