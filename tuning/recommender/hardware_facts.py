"""What the machine is like, without torch; nothing that differs between the ranks of one run is looked at.

What the section `compute` gives wins over what is found, so that a run can be planned for another machine.
"""

from __future__ import annotations

import importlib.util
import math
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tuning.config.ir import IR
from tuning.errors import ConfigError, Problem
from tuning.recommender.values import number, whole

_MIB = 1 << 20
_GIB = 1 << 30
_NVIDIA_SMI_SECONDS = 10.0
_BF16_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})
_OTHER_ACCELERATORS = ("/dev/kfd", "/dev/accel", "/dev/habanalabs", "/dev/davinci_manager", "/dev/neuron0")
"""Devices whose presence says that there is an accelerator which is no NVIDIA GPU."""
_CAPABILITY_ELSEWHERE = (8, 0)
"""Compute capability of GPUs that are elsewhere, where nobody gives it.

Source: NVIDIA's A100 of 2020; GPUs for training that are sold since are 8.0 or newer. Their memory stays unknown
instead: a run that is said to fit, and does not, is worse than a run of which nothing is said.
"""
_LIMITS = {
    **dict.fromkeys(("num_processes", "num_nodes", "gpu_memory_gib", "ram_gib"), 1_000_000),
    "num_gpus_per_node": 1024,
}
"""The most that is believed of a machine; more is a slip of the keyboard."""
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

    `gpus`, `num_cpus` and `ram_bytes` are those of one of the run's `num_nodes` machines; `ram_bytes` is unknown where
    that machine has more GPUs than this one, and so is another, and nobody gives its memory. `world_size` counts the
    processes of the run, `local_world_size` those that share a machine, and `num_shards` the processes that weights,
    gradients and optimizer state are divided over. `is_launched`: a launcher has started the processes already.
    """

    accelerator: Literal["cuda", "cpu", "other"] | None = None
    gpus: tuple[Gpu, ...] = ()
    num_cpus: int | None = None
    ram_bytes: int | None = None
    has_cpu_bf16: bool = False
    world_size: int = 1
    local_world_size: int = 1
    num_shards: int = 1
    num_nodes: int = 1
    is_launched: bool = False

    @property
    def num_gpus_per_node(self) -> int:
        """Return the number of GPUs of each machine."""
        return len(self.gpus)

    @property
    def gpu(self) -> Gpu | None:
        """Return the least of the GPUs, which is the one that everything must fit."""
        return _least(self.gpus) if self.gpus else None

    @property
    def compute_capability(self) -> tuple[int, int] | None:
        """Return the lowest compute capability of the GPUs."""
        known = [gpu.compute_capability for gpu in self.gpus if gpu.compute_capability is not None]
        return min(known) if known else None


def probe_hardware(ir: IR, environ: Mapping[str, str] | None = None) -> HardwareFacts:
    """Look at the machine, or take it as `compute` gives it; `training.use_cpu` leaves its accelerators out.

    Raises:
        ConfigError: what is given is no machine that there could be.
    """
    if too_much := list(_too_much(ir)):
        raise ConfigError(too_much)
    environ = os.environ if environ is None else environ
    found = _found_gpus(ir, environ)
    gpus = _gpus(ir, found)
    ram_gib = number(ir, "compute.ram_gib")
    world_size, local_world_size, num_nodes = _processes(ir, environ, len(gpus))
    return HardwareFacts(
        accelerator="cuda" if gpus else _without_cuda(bool(ir.get("training.use_cpu")) or _gives_no_gpus(ir)),
        gpus=gpus,
        num_cpus=os.cpu_count(),
        ram_bytes=max(1, int(ram_gib * _GIB)) if ram_gib else None if len(gpus) > len(found) else _ram_bytes(),
        has_cpu_bf16=bool(_BF16_FLAGS & _cpu_flags()),
        world_size=world_size,
        local_world_size=local_world_size,
        num_shards=world_size if _is_sharded(ir, environ) else 1,
        num_nodes=num_nodes,
        is_launched=environ.get("WORLD_SIZE", "").isdigit(),
    )


def _too_much(ir: IR) -> Iterator[Problem]:
    for name, limit in _LIMITS.items():
        path = f"compute.{name}"
        if (given := number(ir, path)) is not None and given > limit:
            yield Problem(path, f"expected at most {limit:,}", given, ir.sources.get(path))


def _found_gpus(ir: IR, environ: Mapping[str, str]) -> tuple[Gpu, ...]:
    """List the GPUs that are here and wanted."""
    if ir.get("training.use_cpu") or _gives_no_gpus(ir) or not _torch_can_use(("cuda",)):
        return ()
    return probe_gpus(environ)


def _gpus(ir: IR, found: tuple[Gpu, ...]) -> tuple[Gpu, ...]:
    """List the GPUs of one machine; those that `compute` speaks of need not be here."""
    if ir.get("training.use_cpu") or _gives_no_gpus(ir):
        return ()
    count, memory_gib = whole(ir, "compute.num_gpus_per_node"), number(ir, "compute.gpu_memory_gib")
    capability = _version(str(ir.get("compute.gpu_compute_capability", "")))
    if count is None and memory_gib is None and capability is None:
        return found
    kinds = found or (Gpu("GPU as given", None, _CAPABILITY_ELSEWHERE),)
    count = len(kinds) if count is None else count
    chosen = kinds[:count] if count <= len(kinds) else (_least(kinds),) * count
    memory = max(1, int(memory_gib * _GIB)) if memory_gib else None
    return tuple(Gpu(gpu.name, memory or gpu.memory_bytes, capability or gpu.compute_capability) for gpu in chosen)


def _processes(ir: IR, environ: Mapping[str, str], num_gpus: int) -> tuple[int, int, int]:
    """Count the processes, those of one machine, and the machines: as launched, else as given, else one of each."""
    nodes, asked = whole(ir, "compute.num_nodes"), whole(ir, "compute.num_processes")
    if environ.get("WORLD_SIZE", "").isdigit():
        world_size, local = _count(environ, "WORLD_SIZE"), _count(environ, "LOCAL_WORLD_SIZE")
        launched = math.ceil(world_size / local) if "LOCAL_WORLD_SIZE" in environ else 1
        return world_size, local, nodes or launched
    given = nodes is not None or whole(ir, "compute.num_gpus_per_node") is not None
    world_size = asked or ((nodes or 1) * max(1, num_gpus) if given else 1)
    nodes = min(nodes or math.ceil(world_size / max(1, num_gpus or world_size)), world_size)
    return world_size, math.ceil(world_size / nodes), nodes


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
    return Gpu(
        name=name,
        memory_bytes=int(memory) * _MIB if memory.isdigit() else None,
        compute_capability=_version(capability),
    )


def _version(text: str) -> tuple[int, int] | None:
    found = re.fullmatch(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def _least(gpus: Sequence[Gpu]) -> Gpu:
    return min(gpus, key=lambda gpu: gpu.memory_bytes or 0)


def _gives_no_gpus(ir: IR) -> bool:
    return number(ir, "compute.num_gpus_per_node") == 0


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


def _ram_bytes() -> int:
    """Return the memory of the machine, or of the container that this process is held in."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
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
    asked = ir.get("training.fsdp") or ir.get("accelerate.distributed_type") == "FSDP"
    return bool(asked) or environ.get("ACCELERATE_USE_FSDP", "").lower() in ("1", "true")


def _count(environ: Mapping[str, str], name: str) -> int:
    value = environ.get(name, "")
    return max(1, int(value)) if value.isdigit() else 1
