"""Write the command that starts a run: plain Python for one process, accelerate's launcher for several."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tuning.config.ir import IR
from tuning.recommender.values import whole

MODULE = "tuning.sft_trainer"

_KINDS = {"FSDP": "--use_fsdp", "DEEPSPEED": "--use_deepspeed", "MEGATRON_LM": "--use_megatron_lm", "XLA": "--tpu"}
"""accelerate's distributed_type -> its flag; all others, CPUs among them, are started by --multi_gpu."""
_INNER = {
    "fsdp_config": "fsdp_",
    "dynamo_config": "dynamo_",
    "fp8_config": "fp8_",
    "parallelism_config": "parallelism_config_",
    "deepspeed_config": "",
    "megatron_lm_config": "",
}
"""Objects in accelerate's file -> what their keys start with as flags."""
_SWITCHES = frozenset(
    {
        "debug",
        "downcast_bf16",
        "dynamo_use_dynamic",
        "dynamo_use_fullgraph",
        "dynamo_use_regional_compilation",
        "enable_cpu_affinity",
        "same_network",
    }
)
"""Flags of accelerate without a value."""
_SAID_OTHERWISE = frozenset({"compute_environment", "distributed_type", "mixed_precision", "use_cpu"})
_MACHINES = ("machine_rank", "main_process_ip", "main_process_port")
_FIRST = ("num_processes", "num_machines", *_MACHINES)
_PORT = 29500


class Expanded(str):
    """A word whose variables the shell fills in. It is made of fixed text alone, never of what a user wrote."""


MACHINE_RANK, MAIN_PROCESS_IP = Expanded("${MACHINE_RANK:?}"), Expanded("${MAIN_PROCESS_IP:?}")
"""What differs from one machine to the next, and where the first machine is; the shell stops where one is not set."""


def num_processes(ir: IR) -> int:
    """Return the processes of the run on all machines together; 1 where nothing says otherwise."""
    gpus = whole(ir, "compute.num_gpus_per_node")
    by_gpus = gpus * (whole(ir, "compute.num_nodes") or 1) if gpus is not None else None
    return whole(ir, "compute.num_processes") or by_gpus or whole(ir, "accelerate.num_processes") or 1


def num_machines(ir: IR) -> int:
    """Return the machines of the run; 1 where nothing says otherwise."""
    return whole(ir, "compute.num_nodes") or whole(ir, "accelerate.num_machines") or 1


def mixed_precision(ir: IR) -> str | None:
    """Return accelerate's word for the precision of the run; None while it is undecided."""
    if ir.get("training.bf16") is True:
        return "bf16"
    if ir.get("training.fp16") is True:
        return "fp16"
    undecided = ir.get("training.bf16") is None or ir.get("training.fp16") is None
    return ir.get("accelerate.mixed_precision") if undecided else "no"


def launch_command(ir: IR, config_file: str, accelerate_file: str | None = None) -> list[str]:
    """Return the words of the command that trains `config_file` with the processes that the document asks for.

    accelerate is told everything by flags, or by `accelerate_file`, its own file, where that is given. With more than
    one machine, the shell's variables MACHINE_RANK and, unless the document says it, MAIN_PROCESS_IP say the rest.
    """
    if num_processes(ir) == 1 and accelerate_file is None:
        return ["python", "-m", MODULE, config_file]
    return [*accelerate_launch(ir, accelerate_file), "-m", MODULE, config_file]


def accelerate_launch(ir: IR, accelerate_file: str | None = None) -> list[str]:
    """Return the words before the module: accelerate's launcher with its file, or with flags that say the same."""
    if accelerate_file is not None:
        machines = (word for key, value in _machines(ir).items() for word in _flag(key, value))
        return ["accelerate", "launch", "--config_file", accelerate_file, *machines]
    return ["accelerate", "launch", *_flags(ir)]


def shell_line(words: Sequence[str]) -> str:
    """Write a command as one line for a POSIX shell; every word arrives as it is, but for variables in `Expanded`."""
    return " ".join(f'"{word}"' if isinstance(word, Expanded) else shlex.quote(word) for word in words)


def _machines(ir: IR) -> dict[str, Any]:
    """Return accelerate's settings of one of several machines; a rank in the document is that of only one of them."""
    if num_machines(ir) == 1:
        return {}
    address, port = ir.get("accelerate.main_process_ip"), ir.get("accelerate.main_process_port")
    return dict(zip(_MACHINES, (MACHINE_RANK, address or MAIN_PROCESS_IP, port or _PORT), strict=True))


def _flags(ir: IR) -> Iterator[str]:
    given: dict[str, Any] = {key: value for key, value in (ir.get("accelerate") or {}).items() if value is not None}
    settings = {**given, "num_processes": num_processes(ir), "num_machines": num_machines(ir), **_machines(ir)}
    if settings["num_processes"] > 1:
        yield _KINDS.get(str(settings.get("distributed_type")), "--multi_gpu")
    for key in [*(name for name in _FIRST if name in settings), *(name for name in settings if name not in _FIRST)]:
        if key not in _SAID_OTHERWISE:
            yield from _flag(key, settings[key])
    if (precision := mixed_precision(ir)) is not None:
        yield from ("--mixed_precision", precision)


def _flag(key: str, value: Any) -> Iterator[str]:
    if key in _INNER and isinstance(value, Mapping):
        if key == "parallelism_config" and value:
            yield "--use_parallelism_config"
        for name, inner in value.items():
            prefix = _INNER[key]
            yield from _flag(name if name.startswith(prefix) else f"{prefix}{name}", inner)
    elif key in _SWITCHES:
        yield from ([f"--{key}"] if value is True else [])
    elif value is not None and not isinstance(value, (Mapping, list)):
        yield from (f"--{key}", value if isinstance(value, str) else str(value).lower())
