"""What the machine is like, without torch; nothing that differs between the ranks of one run is looked at."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tuning.config.ir import IR

_MIB = 1 << 20
_NVIDIA_SMI_SECONDS = 10.0
_BF16_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})
_OTHER_ACCELERATORS = ("/dev/kfd", "/dev/accel", "/dev/habanalabs", "/dev/davinci_manager", "/dev/neuron0")
"""Devices whose presence says that there is an accelerator which is no NVIDIA GPU."""
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU."""

    name: str
    memory_bytes: int | None = None
    compute_capability: tuple[int, int] | None = None


@dataclass(frozen=True)
class HardwareFacts:
    """The machine that trains; `accelerator` "other" is one that is not looked into, such as AMD's or Apple's.

    `world_size` counts the processes of the run, `local_world_size` those that share this machine, and `num_shards`
    the processes that weights, gradients and optimizer state are divided over.
    """

    accelerator: Literal["cuda", "cpu", "other"] | None = None
    gpus: tuple[Gpu, ...] = ()
    num_cpus: int | None = None
    ram_bytes: int | None = None
    has_cpu_bf16: bool = False
    world_size: int = 1
    local_world_size: int = 1
    num_shards: int = 1

    @property
    def gpu(self) -> Gpu | None:
        """Return the least of the GPUs, which is the one that everything must fit."""
        return min(self.gpus, key=lambda gpu: gpu.memory_bytes or 0) if self.gpus else None

    @property
    def compute_capability(self) -> tuple[int, int] | None:
        """Return the lowest compute capability of the GPUs."""
        known = [gpu.compute_capability for gpu in self.gpus if gpu.compute_capability is not None]
        return min(known) if known else None


def probe_hardware(ir: IR, environ: Mapping[str, str] | None = None) -> HardwareFacts:
    """Look at the machine; `training.use_cpu` leaves its accelerators out."""
    environ = os.environ if environ is None else environ
    gpus = () if ir.get("training.use_cpu") or not _torch_can_use(("cuda",)) else probe_gpus(environ)
    world_size = _count(environ, "WORLD_SIZE")
    return HardwareFacts(
        accelerator="cuda" if gpus else _without_cuda(bool(ir.get("training.use_cpu"))),
        gpus=gpus,
        num_cpus=os.cpu_count(),
        ram_bytes=_ram_bytes(),
        has_cpu_bf16=bool(_BF16_FLAGS & _cpu_flags()),
        world_size=world_size,
        local_world_size=_count(environ, "LOCAL_WORLD_SIZE"),
        num_shards=world_size if _is_sharded(ir, environ) else 1,
    )


def probe_gpus(environ: Mapping[str, str]) -> tuple[Gpu, ...]:
    """Ask `nvidia-smi` for the GPUs that this process may use; none where the command is missing or fails."""
    command = shutil.which("nvidia-smi", path=environ.get("PATH"))
    if command is None:
        return ()
    query = [command, "--query-gpu=name,memory.total,compute_cap", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=_NVIDIA_SMI_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    found = [_gpu(line) for line in answer.stdout.splitlines() if line.count(",") >= 2]
    return _visible(found, environ.get("CUDA_VISIBLE_DEVICES"))


def _gpu(line: str) -> Gpu:
    name, memory, capability = (part.strip() for part in line.rsplit(",", 2))
    version = re.fullmatch(r"(\d+)\.(\d+)", capability)
    return Gpu(
        name=name,
        memory_bytes=int(memory) * _MIB if memory.isdigit() else None,
        compute_capability=(int(version[1]), int(version[2])) if version else None,
    )


def _visible(gpus: list[Gpu], chosen: str | None) -> tuple[Gpu, ...]:
    """Keep the GPUs that CUDA_VISIBLE_DEVICES names by number; names of another kind keep as many as they are."""
    if chosen is None:
        return tuple(gpus)
    names = [name.strip() for name in chosen.split(",") if name.strip()]
    if "-1" in names:
        names = names[: names.index("-1")]
    if all(name.isdigit() for name in names):
        return tuple(gpus[int(name)] for name in names if int(name) < len(gpus))
    return tuple(gpus[: len(names)])


def _torch_can_use(backends: tuple[str, ...]) -> bool:
    """Read from torch's own version file what it was built for; importing it would cost seconds."""
    spec = importlib.util.find_spec("torch")
    locations = spec.submodule_search_locations if spec is not None else None
    try:
        text = (Path(locations[0]) / "version.py").read_text(encoding="utf-8") if locations else ""
    except OSError:
        return True
    found = dict(re.findall(r"^(\w+)\b[^=\n]*=\s*(\S+)", text, re.MULTILINE))
    return any(found.get(backend, "unknown") != "None" for backend in backends)


def _without_cuda(use_cpu: bool) -> Literal["cpu", "other"]:
    apple = platform.system() == "Darwin" and platform.machine() == "arm64"
    other = _torch_can_use(("hip", "xpu")) and any(Path(path).exists() for path in _OTHER_ACCELERATORS)
    return "other" if not use_cpu and (apple or other) else "cpu"


def _ram_bytes() -> int | None:
    """Return the memory of the machine, or of the container that this process is held in."""
    import psutil

    limits = [psutil.virtual_memory().total]
    for path in _CGROUP_LIMITS:
        try:
            text = Path(path).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            continue
        limits += [int(text)] if text.isdigit() else []
    return min(limits)


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    return set(found[1].split()) if found else set()


def _is_sharded(ir: IR, environ: Mapping[str, str]) -> bool:
    return bool(ir.get("training.fsdp")) or environ.get("ACCELERATE_USE_FSDP", "").lower() in ("1", "true")


def _count(environ: Mapping[str, str], name: str) -> int:
    value = environ.get(name, "")
    return max(1, int(value)) if value.isdigit() else 1
