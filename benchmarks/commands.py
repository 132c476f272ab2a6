"""`python -m benchmarks.commands`: CPU time of commands that only look, beside that of what Python itself imports.

The least of some starts is told: a machine that is busy with other things takes longer for the same, and so does a
first start, which compiles the modules.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.stores import ROOT
from benchmarks.tables import circumstances, replace_between_marks, table
from benchmarks.tiny_model import write_tiny_model

BASELINE = "Python, pydantic and importlib.metadata"
COMMANDS: Mapping[str, Sequence[str]] = {
    BASELINE: ["-c", "import importlib.metadata, pydantic.types"],
    "`tune --help`": ["-m", "tuning.cli", "--help"],
    "`tune ls`": ["-m", "tuning.cli", "ls"],
    "`tune validate run.json`": ["-m", "tuning.cli", "validate", "run.json"],
    "`tuning-recommender run.json`": ["-m", "tuning.recommender.cli", "run.json"],
}


def cpu_seconds(words: Sequence[str], folder: Path) -> float:
    """Return the CPU time, user and system, that a start of Python with these words takes."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], cwd=folder, check=True, capture_output=True, env=environ)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measured(folder: Path, starts: int) -> dict[str, float]:
    """Return the least CPU time of each command, seconds; they take turns, so that all meet the same machine."""
    took: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(starts):
        for name, words in COMMANDS.items():
            took[name].append(cpu_seconds(words, folder))
    return {name: min(each) for name, each in took.items()}


def write_inputs(folder: Path) -> None:
    """Write a tiny model, 64 rows and a configuration of five lines."""
    write_tiny_model(folder / "model")
    row = json.dumps({"prompt": "Say it: ", "completion": "it"})
    (folder / "rows.jsonl").write_text(f"{row}\n" * 64, encoding="utf-8")
    settings = {"model_name_or_path": "model", "training_data_path": "rows.jsonl", "output_dir": "out"}
    (folder / "run.json").write_text(json.dumps({**settings, "train_from_scratch": True}), encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print the table, and put it into docs/command.md where that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.commands", description=__doc__)
    parser.add_argument("--starts", type=int, default=15, help="starts of each command (default: %(default)s)")
    parser.add_argument("--store", action="store_true", help="replace the table in docs/command.md")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        write_inputs(Path(folder))
        found = measured(Path(folder), args.starts)
    rows = [(name, f"{seconds:.2f}", f"{seconds / found[BASELINE]:.1f}") for name, seconds in found.items()]
    text = f"{circumstances('python -m benchmarks.commands')}\n\n"
    text += table(("command", "CPU s", "times the first line"), rows)
    print(text)
    if args.store:
        replace_between_marks(ROOT / "docs" / "command.md", "commands", text)


if __name__ == "__main__":
    main()
