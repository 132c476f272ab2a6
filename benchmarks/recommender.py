"""Do recommended runs learn? `python -m benchmarks.recommender --data ../shared/data`.

Each case is trained with our completed configuration, with the public recommender's values and with TRL's defaults:
same model, rows, steps, batch and seed. Writes the table of docs/recommended-runs.md, and ends with 1 where a target is
missed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.recommended_cases import CASES, TASKS, Case, write_corpus, write_model, write_task
from benchmarks.recommended_training import OURS, PUBLIC, STEPS, SWEEP, TRL
from benchmarks.stores import ROOT
from benchmarks.tables import circumstances, replace_between_marks, table

PAGE = ROOT / "docs" / "recommended-runs.md"
COMMAND = "python -m benchmarks.recommender"
HEADER = (
    "model",
    "task",
    "method",
    "our learning rate",
    "ours",
    "public recommender",
    "TRL's defaults",
    *(f"ours x {factor:g}" for factor in SWEEP),
    "ours / best of the sweep",
)
MOST_ABOVE_THE_BEST = 1.02
FEWEST_WINS = 5 / 6
_FIRST_STEPS = 1500

Losses = Mapping[str, Mapping[str, Any]]


def prepare(data: Path, folder: Path, jobs: int) -> None:
    """Write the tasks, and train each model from scratch on text that no task holds; what is there already stays."""
    corpus = write_corpus(data, folder)
    for task in TASKS:
        write_task(task, data, folder)
    models = sorted({case.model for case in CASES})
    with ThreadPoolExecutor(jobs) as executor:
        list(executor.map(lambda model: _first_training(model, corpus, folder / model), models))


def _first_training(model_type: str, corpus: Path, folder: Path) -> None:
    if (folder / "trained" / "model.safetensors").exists():
        return
    settings = {
        "model_name_or_path": write_model(model_type, corpus, folder / "empty"),
        "train_from_scratch": "true",
        "training_data_path": corpus,
        "output_dir": folder / "run",
        "save_model_dir": folder / "trained",
        "max_steps": _FIRST_STEPS,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 1,
        "validation_fraction": 0,
        "use_cpu": "true",
        "bf16": "false",
        "save_strategy": "no",
    }
    words = [f"{name}={value}" for name, value in settings.items()]
    _run([sys.executable, "-m", "tuning.sft_trainer", *words])


def try_case(case: Case, folder: Path) -> dict[str, Mapping[str, Any]]:
    """Train one case in every way; returns the records by way."""
    lines = _run([sys.executable, "-m", "benchmarks.recommended_training", case.name, str(folder)]).splitlines()
    records = [json.loads(line.removeprefix("RECORD ")) for line in lines if line.startswith("RECORD ")]
    print(case.name, {record["way"]: round(record["loss"], 4) for record in records}, flush=True)
    return {record["way"]: record for record in records}


def _run(command: Sequence[str]) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return done.stdout


def wins(losses: Losses) -> bool:
    """Tell whether our way has the lowest loss of the three."""
    return losses[OURS]["loss"] < min(losses[PUBLIC]["loss"], losses[TRL]["loss"])


def above_the_best(losses: Losses) -> float:
    """Return our loss over the least of the sweep around it, ours included."""
    return losses[OURS]["loss"] / min(losses[way]["loss"] for way in (OURS, *(f"{factor:g}" for factor in SWEEP)))


def row(case: Case, losses: Losses) -> list[object]:
    """Write one case as cells of the table."""
    method = "all weights" if case.method == "none" else "LoRA"
    ways = (OURS, PUBLIC, TRL, *(f"{factor:g}" for factor in SWEEP))
    numbers = [f"{losses[way]['loss']:.4f}" for way in ways]
    numbers[0] = f"**{numbers[0]}**" if wins(losses) else numbers[0]
    rate = f"{losses[OURS]['learning_rate']:g}"
    return [case.model, case.task, method, rate, *numbers, f"{above_the_best(losses):.3f}"]


def main(argv: Sequence[str] | None = None) -> int:
    """Train everything and write the table; 0 when both targets are met."""
    args = _parser().parse_args(argv)
    folder = Path(args.folder or tempfile.mkdtemp(prefix="recommender-")).resolve()
    prepare(args.data.resolve(), folder, args.jobs)
    wanted = [case for case in CASES if not args.only or case.name in args.only]
    with ThreadPoolExecutor(args.jobs) as executor:
        found = dict(zip(wanted, executor.map(lambda case: try_case(case, folder), wanted), strict=True))
    num_wins, worst = sum(map(wins, found.values())), max(map(above_the_best, found.values()))
    verdict = (
        f"{STEPS} steps of 8 rows each. Ours is the best of the three in {num_wins} of {len(found)}, "
        f"and at most {100 * (worst - 1):.1f} % above the best of its sweep."
    )
    print(verdict)
    if not args.only:
        rows = [row(case, losses) for case, losses in found.items()]
        replace_between_marks(args.page, "recommended", f"{circumstances(COMMAND)} {verdict}\n\n{table(HEADER, rows)}")
    return 0 if num_wins >= FEWEST_WINS * len(found) and worst <= MOST_ABOVE_THE_BEST else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the tasks' files")
    parser.add_argument("--only", action="append", default=[], metavar="CASE", help="try only this; the page stays")
    parser.add_argument("--jobs", type=int, default=2, help="cases at once, one thread each (default: 2)")
    parser.add_argument("--folder", help="keep models and rows here, and use those that are there")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page whose table is replaced")
    return parser


if __name__ == "__main__":
    sys.exit(main())
