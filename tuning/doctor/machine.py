"""What the machine has: GPUs and whether torch can use them, the CPU, memory, and room for the run folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from tuning.config.schema import TuningConfig
from tuning.doctor.finding import Finding
from tuning.recommender.facts import Facts
from tuning.recommender.hardware_facts import Gpu, probe_gpus
from tuning.recommender.memory_plan import gib
from tuning.recommender.plan import Plan

_CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
_LEAST_FREE_BYTES = 2 << 30
"""Source: our own choice: what a process with torch and a small model holds."""
_WEIGHT_BYTES, _STATE_BYTES = 4, 12
"""Bytes that a checkpoint holds of a trained weight: itself in float32, and with AdamW's two moments."""


def machine_findings(environ: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Look at GPUs, CPU and memory."""
    gpus = probe_gpus(environ)
    yield gpu_finding(gpus, _torch_problem() if gpus else None)
    yield _cpu_finding()
    yield memory_finding(psutil.virtual_memory().available, psutil.virtual_memory().total)


def gpu_finding(gpus: Sequence[Gpu], problem: str | None) -> Finding:
    """Tell of the GPUs; `problem` is why torch cannot compute on them."""
    if not gpus:
        return Finding("GPUs", "ok", "no NVIDIA GPU is seen: runs train on the CPU")
    names = ", ".join(f"{gpu.name} ({gib(gpu.memory_bytes or 0)})" for gpu in gpus)
    if problem is None:
        return Finding("GPUs", "ok", names)
    hint = "Install a torch that is built for the driver's CUDA, or update the driver; nvidia-smi names both."
    return Finding("GPUs", "fault", f"{names}: {problem}", hint)


def _torch_problem() -> str | None:
    """Multiply two small matrices on each GPU; return why that is not possible."""
    import torch

    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    if not torch.cuda.is_available():
        return f"torch is built for CUDA {torch.version.cuda}, and cannot start it"
    try:
        for index in range(torch.cuda.device_count()):
            ones = torch.ones(64, 64, device=f"cuda:{index}")
            if float((ones @ ones)[0, 0]) != 64:
                return f"GPU {index} multiplies wrongly"
    except RuntimeError as error:
        return str(error).splitlines()[0]
    return None


def _cpu_finding() -> Finding:
    found = [flag for flag in _CPU_FLAGS if flag in _cpu_flags()]
    cores = psutil.cpu_count(logical=False) or psutil.cpu_count()
    return Finding("CPU", "ok", f"{cores} cores; {', '.join(found) or 'none of ' + ', '.join(_CPU_FLAGS)}")


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return set(next((line.partition(":")[2] for line in lines if line.startswith("flags")), "").split())


def memory_finding(available: int, total: int) -> Finding:
    """Tell of the memory, bytes, that is free for a process."""
    told = f"{gib(available)} of {gib(total)} are free"
    if available >= _LEAST_FREE_BYTES:
        return Finding("memory", "ok", told)
    return Finding("memory", "warning", told, "End other programs, or take a machine with more.")


def fit_finding(plan: Plan) -> Finding:
    """Compare what a step needs with what the device has."""
    if plan.memory is None or plan.budget_bytes is None:
        return Finding("fit", "skipped", "whether a step fits is not known: the model's shape or the device is not")
    told = f"a step needs about {gib(plan.memory.total)}; {gib(plan.budget_bytes)} are planned with"
    if plan.fits:
        return Finding("fit", "ok", told)
    return Finding("fit", "fault", told, "`tune plan` says by how much, and what would help.")


def disk_finding(config: TuningConfig, facts: Facts) -> Finding:
    """Compare the room where the run folder will be with what its checkpoints and its model take."""
    folder = Path(str(config.training.output_dir)).expanduser()
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        return Finding("disk", "fault", f"{folder}: {there} cannot be written to", "Choose another output_dir.")
    free, needed = shutil.disk_usage(there).free, _needed_bytes(config, facts)
    if needed is None:
        return Finding("disk", "ok", f"{gib(free)} free for {folder}")
    told = f"{gib(free)} free for {folder}; its checkpoints and model take about {gib(needed)}"
    if needed <= free:
        return Finding("disk", "ok", told)
    return Finding("disk", "fault", told, "Choose another output_dir, or a smaller save_total_limit.")


def _needed_bytes(config: TuningConfig, facts: Facts) -> int | None:
    """Estimate the size of a run folder; None where it is not known, or small, as that of adapters is."""
    count = facts.model.num_parameters if facts.model is not None else None
    if count is None or config.peft.peft_method != "none":
        return None
    training: dict[str, Any] = dict(config.training)
    kept = 0 if training["save_strategy"] == "no" else (training["save_total_limit"] or 1) + 1
    return count * (_WEIGHT_BYTES + kept * (_STATE_BYTES if not training["save_only_model"] else _WEIGHT_BYTES))
