"""Train one scenario by one system in a process of its own, and measure it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measurements import Measurement, read_steps, speed_of
from benchmarks.model_flops import model_flops_utilization
from benchmarks.scenario_files import PADDING_IDS
from benchmarks.systems import Case, System

ROOT = Path(__file__).resolve().parent.parent
PROBE = Path(__file__).resolve().parent / "probe"
STEPS_FILE, LOG_FILE = "steps.jsonl", "log.txt"
_LONGEST_SECONDS = 3600.0
_LONGEST_PROBLEM = 200
_LEAVES = ("trained", "prepared", "run", "hf", "rows")
"""Folders of a case that are large and no longer needed once it is measured."""


def measure(case: Case, name: str, system: System, threads: int) -> Measurement:
    """Train and score one case; what hinders it is told in `problem`."""
    about = (case.scenario.name, name, case.seed)
    missing = why_not(case, system)
    if missing:
        return Measurement(*about, problem=missing)
    shutil.rmtree(case.folder, ignore_errors=True)
    case.folder.mkdir(parents=True)
    environ = environment(case.folder, case.python, threads)
    ended = run(system.prepare(case), case.folder, environ) if system.prepare else 0
    command = system.command(case)
    started, cpu_before = time.monotonic(), _cpu_of_children()
    ended = ended or run(command, case.folder, environ)
    seconds, cpu = time.monotonic() - started, _cpu_of_children() - cpu_before
    log = (case.folder / LOG_FILE).read_text(encoding="utf-8", errors="replace")
    if ended != 0:
        return Measurement(*about, problem=_last_line(log, ended))
    try:
        speed = speed_of(read_steps(case.folder / STEPS_FILE), started)
    except ValueError as error:
        return Measurement(*about, problem=str(error))
    speed |= {"train_loss": system.train_loss(log), "held_out_loss": _score(case, system, threads)}
    _clean(case.folder)
    return Measurement(*about, **speed, mfu=_mfu(case, speed), job_seconds=seconds, job_cpu_seconds=cpu)


def why_not(case: Case, system: System) -> str:
    """Say why a system cannot train a case; empty where it can."""
    if case.scenario.method not in system.methods:
        return f"not set up for {case.scenario.method}"
    code = "import importlib.util as u, sys; print(*(n for n in sys.argv[1:] if u.find_spec(n) is None))"
    found = subprocess.run([case.python, "-c", code, *system.packages], capture_output=True, text=True, check=False)
    missing = found.stdout.split() if found.returncode == 0 else list(system.packages)
    return f"not installed: {', '.join(missing)}" if missing else ""


def run(command: Sequence[str], folder: Path, environ: Mapping[str, str]) -> int:
    """Run a command with its output in the folder's log; returns its exit code, 124 where it took too long."""
    with (folder / LOG_FILE).open("wb") as log:
        try:
            return subprocess.run(
                command, cwd=folder, env=environ, stdout=log, stderr=subprocess.STDOUT, timeout=_LONGEST_SECONDS
            ).returncode
        except subprocess.TimeoutExpired:
            return 124


def environment(folder: Path, python: str, threads: int, marks: Sequence[str] = ()) -> dict[str, str]:
    """Return the environment of a measured process: the probe in it, caches of its own, and no network."""
    path = f"{Path(python).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {
        **os.environ,
        "PATH": path,
        "PYTHONPATH": os.pathsep.join((str(PROBE), str(ROOT))),
        "BENCHMARK_PID": str(os.getpid()),
        "BENCHMARK_STEPS": str(folder / STEPS_FILE),
        "BENCHMARK_PADDING": ",".join(map(str, PADDING_IDS)),
        "BENCHMARK_MARKS": ",".join(marks),
        "HF_HOME": str(folder / "hf"),
        "HF_HUB_OFFLINE": "1",
        "DO_NOT_TRACK": "1",
        "WANDB_MODE": "disabled",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": str(threads),
    }


def _score(case: Case, system: System, threads: int) -> float | None:
    """Score what was saved on the held-out rows; None where it is in no form that transformers loads."""
    words = ["benchmarks.score", str(case.files.model), str(system.model(case)), str(case.files.held_out)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, env=environ, capture_output=True, text=True)
    (case.folder / "score.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    return float(done.stdout.split()[-1]) if done.returncode == 0 else None


def _mfu(case: Case, speed: Mapping[str, Any]) -> float | None:
    if case.scenario.device != "cuda":
        return None
    mean_length = speed["num_tokens"] / (speed["num_steps"] * case.scenario.batch_size)
    return model_flops_utilization(case.scenario, speed["tokens_per_second"], mean_length, gpu_name())


def gpu_name() -> str:
    """Return the name of the first GPU; empty where there is none."""
    if shutil.which("nvidia-smi") is None:
        return ""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    return next(iter(subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()), "")


def _cpu_of_children() -> float:
    return os.times().children_user + os.times().children_system


def _clean(folder: Path) -> None:
    for name in _LEAVES:
        shutil.rmtree(folder / name, ignore_errors=True)


def _last_line(log: str, code: int) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return f"ended with {code}: {lines[-1][:_LONGEST_PROBLEM] if lines else 'no output'}"
