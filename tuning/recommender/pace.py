"""How long one forward and backward pass takes here: the trainer itself runs a few steps, and is ended before it saves.

It is the real thing on a few real rows: the weights are loaded, and loss, kernels and optimizer are those of the run.
Nothing is left behind.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuning.config.ir import IR, merge_patch
from tuning.data.sources import Row, files_of, read_rows
from tuning.errors import UserError
from tuning.recommender.completion import Completed
from tuning.recommender.hardware_facts import probe_hardware
from tuning.recommender.plan import Plan
from tuning.recommender.sampling import reservoir

_WARM_UP_STEPS = 2
_TIMED_STEPS = 4
_MOST_ROWS = 5_000
_LONGEST_WAIT_SECONDS = 600.0
_POLL_SECONDS = 0.05
_LAUNCHED = ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Pace:
    """Seconds of one forward and backward pass, the optimizer's step included; the median of `num_steps`."""

    seconds_per_pass: float
    num_steps: int

    def seconds(self, plan: Plan) -> float | None:
        """Return the time of the whole training, evaluation and saving left out; None: the steps are not known."""
        if plan.num_steps is None:
            return None
        return plan.num_steps * plan.gradient_accumulation_steps * self.seconds_per_pass


def measure_pace(completed: Completed, plan: Plan) -> Pace:
    """Train a few steps of one process in a folder that goes away, and time them.

    Raises:
        UserError: the plan is for another kind of machine, or the trainer cannot run it; its own reason is passed on.
    """
    _refuse_another_machine(completed)
    with tempfile.TemporaryDirectory(prefix="tuning-pace-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "config.json").write_text(json.dumps(_configuration(completed.ir, plan, folder)), encoding="utf-8")
        moments = _train(folder)
    seconds = [after - before for before, after in itertools.pairwise(moments[_WARM_UP_STEPS - 1 :])]
    return Pace(statistics.median(seconds), len(seconds))


def _refuse_another_machine(completed: Completed) -> None:
    here = probe_hardware(IR(merge_patch(completed.given.values, {"compute": None})))
    planned = completed.facts.hardware
    if planned is not None and planned.accelerator != here.accelerator:
        raise UserError(
            f"--probe: the plan is for '{planned.accelerator}' and this machine has '{here.accelerator}', "
            "so nothing can be timed here. Leave --probe out, or leave compute out."
        )


def _configuration(ir: IR, plan: Plan, folder: Path) -> dict[str, Any]:
    """Write the run as one of a single process that only trains, on a few rows of a fair sample."""
    values = merge_patch(ir.values, {"compute": None, "accelerate": None, "tracking": None, "metadata": None})
    training = {name: None for name in ("fsdp", "fsdp_config", "num_train_epochs", "save_model_dir", "deepspeed")}
    training |= {
        "output_dir": str(folder / "run"),
        "max_steps": 10**6,  # it is ended long before
        "gradient_accumulation_steps": 1,
        "logging_strategy": "steps",
        "logging_steps": 1,
        "eval_strategy": "no",
        "eval_on_start": False,
        "load_best_model_at_end": False,
        "save_strategy": "no",
        "resume_from_checkpoint": False,
        "push_to_hub": False,
    }
    data = {"validation_data_path": None, "validation_fraction": 0, **_few_rows(ir, plan, folder)}
    changes = {"training": training, "data": data, "recommender": {"recommend": False}}
    return merge_patch(merge_patch(values, {"recommender": None}), changes)


def _few_rows(ir: IR, plan: Plan, folder: Path) -> Mapping[str, Any]:
    """Write a fair sample of the rows to a file; rows on the Hub are left where they are."""
    wanted = (_WARM_UP_STEPS + _TIMED_STEPS + 2) * plan.step.rows
    if ir.get("training.packing") is True:
        wanted *= 1 + plan.step.length // 64
    datasets, split = ir.get("data.datasets"), ir.get("data.dataset_split")
    if not datasets:
        paths = _sample_of(ir.get("data.training_data_path") or [], split, wanted, folder / "rows.jsonl")
        return {"training_data_path": paths, "dataset_split": None} if paths else {}
    few = []
    for number, dataset in enumerate(datasets):
        if (dataset.get("split") or {"train": 1}).get("train"):
            given = dataset.get("dataset_split") or split
            paths = _sample_of(dataset["data_paths"], given, wanted, folder / f"rows-{number}.jsonl")
            where = {"data_paths": paths, "dataset_split": None} if paths else {"dataset_split": given}
            few.append({**dataset, "split": None, **where})
    return {"datasets": few, "dataset_split": None}


def _sample_of(paths: Sequence[str], split: str | None, wanted: int, file: Path) -> list[str] | None:
    """Write a fair sample of rows to a file, and return its path; None for rows on the Hub, or where none are named."""
    if not paths or files_of(paths) is None:
        return None
    found = read_rows(paths, split)
    stream = (row.values for row in found if isinstance(row, Row))
    rows, _ = reservoir(stream, min(wanted, _MOST_ROWS))
    file.write_text("".join(f"{json.dumps(row, default=str)}\n" for row in rows), encoding="utf-8")
    return [str(file)]


def _train(folder: Path) -> list[float]:
    """Run the trainer until enough steps are in its log; returns the time of each."""
    scratch = folder / "scratch"  # what libraries put aside and, when they are killed, leave there
    scratch.mkdir()
    environ = {name: value for name, value in os.environ.items() if name not in _LAUNCHED} | {"TMPDIR": str(scratch)}
    command = [sys.executable, "-m", "tuning.sft_trainer", str(folder / "config.json")]
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environ, start_new_session=True)
        try:
            return _moments(process, folder)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its data loaders too; it must not go on to save
            process.wait()


def _moments(process: subprocess.Popen[bytes], folder: Path) -> list[float]:
    give_up = time.monotonic() + _LONGEST_WAIT_SECONDS
    while time.monotonic() < give_up:
        ended = process.poll() is not None
        moments = _logged(folder / "run" / "tracking" / "events.jsonl")
        if len(moments) >= _WARM_UP_STEPS + _TIMED_STEPS:
            return moments
        if ended:
            raise UserError(f"--probe: the trainer ended before it had trained: {_last_line(folder / 'output.txt')}")
        time.sleep(_POLL_SECONDS)
    raise UserError(f"--probe: after {_LONGEST_WAIT_SECONDS:.0f} seconds only {len(moments)} steps were trained")


def _logged(events: Path) -> list[float]:
    """Read from the run's own log when each step ended, seconds."""
    try:
        lines = events.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = [_record(line) for line in lines if '"train/loss"' in line]
    return [record["time"] for record in found if record is not None]


def _record(line: str) -> dict[str, Any] | None:
    try:
        return json.loads(line)
    except ValueError:  # the last line may be half written
        return None


def _last_line(output: Path) -> str:
    lines = output.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
