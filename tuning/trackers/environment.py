"""Where a run takes place: Python, packages, command, commit and machine."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tuning import __version__

PACKAGES = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "accelerate",
    "tokenizers",
    "safetensors",
    "numpy",
    "pyarrow",
    "bitsandbytes",
    "flash-attn",
    "deepspeed",
    "aim",
    "mlflow",
    "wandb",
    "tensorboard",
    "trackio",
)
"""Packages whose versions can change what a run does or how it is recorded."""

VARIABLES = ("CUDA_VISIBLE_DEVICES", "LOCAL_WORLD_SIZE", "OMP_NUM_THREADS", "SLURM_JOB_ID", "WORLD_SIZE")
"""The only environment variables that are recorded; any other could hold a secret."""

_GIT_SECONDS = 5.0
_NVIDIA_SMI_SECONDS = 10.0
_GIB = 1 << 30


def environment(argv: Sequence[str] | None = None, folder: Path | None = None) -> dict[str, Any]:
    """Describe this process: `argv` are its words, `folder` is where it works. Takes up to some seconds."""
    folder = Path.cwd() if folder is None else folder
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "argv": list(sys.argv if argv is None else argv),
        "working_directory": str(folder),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "packages": {"tuning": __version__, **package_versions()},
        "git": git_state(folder),
        "hardware": hardware(),
    }


def package_versions(names: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Look up the versions of the packages that are installed, without importing one."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def git_state(folder: Path) -> dict[str, Any]:
    """Return commit, branch and whether a tracked file was changed; nothing outside a repository or without git."""
    command = ["git", "-C", str(folder), "status", "--porcelain=v2", "--branch", "--untracked-files=no"]
    # Without optional locks a look at the repository never disturbs what the user does in it.
    answer = _answer(command, _GIT_SECONDS, {**os.environ, "GIT_OPTIONAL_LOCKS": "0"})
    if answer is None:
        return {}
    head = dict(re.findall(r"^# branch\.(oid|head) (.+)$", answer, re.MULTILINE))
    dirty = any(line and not line.startswith("#") for line in answer.splitlines())
    return {"commit": head.get("oid"), "branch": head.get("head"), "dirty": dirty}


def hardware() -> dict[str, Any]:
    """Describe the machine: processor, cores, memory in GiB, and NVIDIA GPUs where `nvidia-smi` can be asked."""
    import psutil

    return {
        "cpu": _cpu_model(),
        "cpu_cores": psutil.cpu_count(logical=False),
        "cpu_threads": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / _GIB, 1),
        "gpus": _gpus(),
    }


def _gpus() -> list[str]:
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    query = [command, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    answer = _answer(query, _NVIDIA_SMI_SECONDS)
    return [line.strip() for line in (answer or "").splitlines() if line.strip()]


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def _answer(command: list[str], seconds: float, environ: Mapping[str, str] | None = None) -> str | None:
    """Return what a command prints, or None where it is missing, fails or takes too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=environ, check=True)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout
