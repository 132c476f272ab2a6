"""Break every store in every way and see what becomes of a run: `python -m benchmarks.faults [--only STORE/FAULT]`.

Writes the table of docs/faults.md, and ends with 1 where a row is not as promised.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.fault_cell import FINISH_TIMEOUT, PATIENCE, Outcome
from benchmarks.faults_known import FAULTS
from benchmarks.private_mounts import can_be_private, private
from benchmarks.stores import ROOT, STORES, environment, make_mlflow_database
from benchmarks.tables import circumstances, replace_between_marks, table
from benchmarks.tiny_model import write_tiny_model

PAGE = ROOT / "docs" / "faults.md"
COMMAND = "make faults"
REAL_TRAININGS = (
    ("mlflow-server", "dead-at-start"),
    ("mlflow-server", "killed"),
    ("mlflow-server", "frozen"),
    ("aim-local", "trainer-killed"),
    ("mlflow-sqlite", "trainer-raising"),
    ("wandb-offline", "trainer-killed"),
)
HEADER = (
    "store",
    "fault",
    "trainer",
    "training finished",
    "extra s while training",
    "extra s at the end",
    "steps kept / logged",
    "of these before `tune sync`",
    "state shown",
    "duplicates",
    "after the resume",
)
_LONGEST_CELL_SECONDS = 480.0


def cells(only: Sequence[str], with_real: bool = True) -> Iterator[tuple[str, str, bool]]:
    """Yield store, fault and whether the real trainer is used, for all that `only` (shell patterns) lets through."""
    for store in STORES:
        for fault in FAULTS:
            if _is_wanted(f"{store}/{fault}", only):
                yield store, fault, False
    for store, fault in REAL_TRAININGS if with_real else ():
        if _is_wanted(f"real/{store}/{fault}", only):
            yield store, fault, True


def why_not(store: str, fault: str) -> str | None:
    """Say in one word why a fault cannot be tried on a store."""
    if FAULTS[fault].servers_only and not STORES[store].is_server:
        return "none¹"
    if FAULTS[fault].needs_mounts and not can_be_private():
        return "skipped²"
    return None


def run_cell(store: str, fault: str, folder: Path, model: Path | None) -> Outcome:
    """Try one fault in a process of its own; what goes wrong there is an outcome too."""
    words = [sys.executable, "-m", "benchmarks.fault_cell", store, fault, str(folder)]
    command = private(words + ([] if model is None else [str(model)]))
    trouble = Outcome(STORES[store].title, FAULTS[fault].title, "loop" if model is None else "real trainer")
    folder.mkdir(parents=True)
    with (folder / "cell.log").open("w") as log:
        try:
            done = subprocess.run(
                command, cwd=ROOT, env=environment(), stdout=-1, stderr=log, timeout=_LONGEST_CELL_SECONDS, text=True
            )
        except subprocess.TimeoutExpired:
            trouble.finished = "no (timed out)"
            return trouble
    if done.returncode != 0:
        trouble.finished = "no (fault in the benchmark)"
        return trouble
    return Outcome(**json.loads(done.stdout.splitlines()[-1]))


def try_cell(cell: tuple[str, str, bool], folder: Path, model: Path) -> tuple[str, Outcome | list[object]]:
    """Return the name of a cell, and its outcome or, where it has no meaning, its row."""
    store, fault, is_real = cell
    name = f"{'real-' * is_real}{store}-{fault}"
    word = why_not(store, fault)
    if word is not None:
        return name, untried(store, fault, word)
    return name, run_cell(store, fault, folder / name, model if is_real else None)


def tell(name: str, found: Outcome | list[object]) -> Outcome | list[object]:
    """Print what came of a cell."""
    if isinstance(found, Outcome):
        print(f"{name}: {'; '.join(found.problems()) or 'as promised'}  {json.dumps(row(found))}", flush=True)
    return found


def row(outcome: Outcome) -> list[object]:
    """Write one outcome as cells of the table; what is not as promised stands in bold."""
    ends = "" if outcome.end_seconds is None else f"{outcome.end_seconds:.1f}"
    resumed = (
        f"{outcome.kept_resumed}/{outcome.logged_resumed}, {outcome.duplicates_resumed} twice, {outcome.state_resumed}"
    )
    cells: list[object] = [
        outcome.store,
        outcome.fault,
        outcome.trainer,
        outcome.finished,
        f"{outcome.extra_seconds:.2f}",
        ends,
        f"{outcome.kept}/{outcome.logged}",
        outcome.kept_before_sync,
        outcome.state,
        outcome.duplicates,
        resumed,
    ]
    return cells if not outcome.problems() else [f"**{cell}**" for cell in cells]


def untried(store: str, fault: str, word: str) -> list[object]:
    """Write a row for what has no meaning."""
    return [STORES[store].title, FAULTS[fault].title, "loop", word, *[""] * (len(HEADER) - 4)]


def content(rows: Sequence[Sequence[object]], num_good: int, num_tried: int) -> str:
    """Write what stands between the marks of the page."""
    verdict = f"{num_good} of {num_tried} rows are as promised; others would stand in bold."
    bounds = f"Here `finish_timeout` is {FINISH_TIMEOUT:g} s and the sender's patience {PATIENCE:g} s."
    return "\n\n".join([f"{circumstances(COMMAND)} {bounds} {verdict}", table(HEADER, rows)])


def main(argv: Sequence[str] | None = None) -> int:
    """Try the faults, print a line for each, and write the table; 0 when every row is as promised."""
    args = _parser().parse_args(argv)
    folder = Path(args.folder or tempfile.mkdtemp(prefix="faults-"))
    make_mlflow_database(folder / "empty-mlflow.db")
    model = write_tiny_model(folder / "model")
    with ThreadPoolExecutor(args.jobs) as executor:
        tries = executor.map(lambda cell: try_cell(cell, folder, model), cells(args.only))
        found = [tell(name, outcome_or_row) for name, outcome_or_row in tries]
    outcomes = [one for one in found if isinstance(one, Outcome)]
    num_good, num_tried = sum(not outcome.problems() for outcome in outcomes), len(outcomes)
    rows = [row(one) if isinstance(one, Outcome) else one for one in found]
    if not args.only:
        replace_between_marks(args.page, "faults", content(rows, num_good, num_tried))
    print(f"{num_good} of {num_tried} as promised; files in {folder}")
    return 0 if num_good == num_tried else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="STORE/FAULT",
        help="try only these, as shell patterns (aim-*/killed, real/*); the page is left as it is",
    )
    parser.add_argument(
        "--jobs", type=int, default=1, help="cells at once; more than one disturb the seconds (default: 1)"
    )
    parser.add_argument("--folder", help="keep all files of the runs here")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page whose table is replaced")
    return parser


def _is_wanted(name: str, only: Sequence[str]) -> bool:
    return not only or any(fnmatch.fnmatch(name, pattern) for pattern in only)


if __name__ == "__main__":
    sys.exit(main())
