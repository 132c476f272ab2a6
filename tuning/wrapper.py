"""How the processes of a run share its model (DDP, FSDP, DeepSpeed), and whether that was asked for.

accelerate falls back without a word: on CPUs it makes DDP of FSDP, and with use_cpu of DeepSpeed, too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from tuning.config.ir import IR
from tuning.config.schema import TuningConfig
from tuning.errors import ConfigError, Problem, UserError
from tuning.world import how_to_launch, with_source, world_size

if TYPE_CHECKING:
    from trl.trainer.sft_config import SFTConfig

_LAUNCHED = {"FSDP": "ACCELERATE_USE_FSDP", "DEEPSPEED": "ACCELERATE_USE_DEEPSPEED"}
"""accelerate's distributed_type -> the variable by which its launcher tells its processes of it."""
_TRAINER = {"FSDP": "fsdp", "DEEPSPEED": "deepspeed"}
"""accelerate's distributed_type -> the field of the trainer that makes it without a launcher's help."""
_NAMES = {"FSDP": "FSDP", "DEEPSPEED": "DeepSpeed"}
_DDP = "DDP"
_NOT_SHARDED = ("MULTI_CPU", "NO")
"""What accelerate calls its state where no model can be sharded, whatever comes later."""
_DEEPSPEED_ON_CPUS = "use_cpu=false ddp_backend=gloo"
_PARALLEL = {"tp_size": "tensor", "cp_size": "context", "sp_size": "sequence"}


class Asked(NamedTuple):
    """A way to share a model, and the field or the launcher that asks for it."""

    kind: str
    path: str
    source: str | None = None


def asked_for(config: TuningConfig, environ: Mapping[str, str] = os.environ) -> Asked | None:
    """Return the way that the configuration or else the launcher asks for; None: nobody does."""
    for kind, field in _TRAINER.items():
        if dict(config.training)[field]:
            return Asked(kind, f"training.{field}")
    if isinstance(given := config.accelerate.get("distributed_type"), str) and given != "NO":
        return Asked(given if given in _LAUNCHED else _DDP, "accelerate.distributed_type")
    launched = _launched(environ)
    return None if launched is None else Asked(launched, "accelerate.distributed_type", "accelerate launch")


def wrong_launch(config: TuningConfig, environ: Mapping[str, str] = os.environ) -> Iterator[Problem]:
    """Name a way of sharing that the configuration asks for where the launcher tells of another one."""
    asked, launched, size = asked_for(config, environ), _launched(environ), world_size(environ)
    if asked is None or asked.path.startswith("training.") or (size == 1 and asked.kind == _DDP):
        return
    if asked.kind != (launched or _DDP):
        found = _name(launched) if launched else "one process" if size == 1 else _DDP
        told = f"{_name(asked.kind)} was asked for, and {found} was launched"
        hint = how_to_launch(config, max(size, 2))
        yield Problem(asked.path, told, config.accelerate.get("distributed_type"), asked.source, hint)


def check_launch(config: TuningConfig, document: IR) -> None:
    """Refuse to train where the launcher shares the model in another way than the document asks for.

    Raises:
        ConfigError: names the field, where it was set, and the command to launch with.
    """
    if found := [with_source(problem, document) for problem in wrong_launch(config)]:
        raise ConfigError(found)


def check_wrapper(config: TuningConfig, document: IR, args: SFTConfig) -> None:
    """Refuse what accelerate is about to make of the processes, before a model is loaded into each of them.

    Raises:
        UserError: it is not what was asked for.
    """
    asked = asked_for(config)
    if args.world_size != world_size():
        told = f"{world_size()} processes were launched, and the trainer sees {args.world_size}. Without GPUs, set"
        how = "use_cpu=true, or ACCELERATE_USE_CPU=true in the environment"
        raise UserError(f"{told} {_DEEPSPEED_ON_CPUS if asked is not None and asked.kind == 'DEEPSPEED' else how}.")
    state = str(args.distributed_state and args.distributed_state.distributed_type.name)
    found = [*_unable(config, args.device.type)]
    if asked is not None and asked.kind in _NAMES and _is_lost(asked.kind, state):
        made = "DDP" if args.world_size > 1 else "a whole model"
        told = f"{_name(asked.kind)} was asked for, and accelerate makes {made} of it here (its state is {state})"
        found.append(Problem(asked.path, told, asked.kind, asked.source, _instead(asked.kind, args)))
    if found:
        raise ConfigError([with_source(problem, document) for problem in found])


def check_made(config: TuningConfig, distributed_type: str) -> None:
    """Refuse a trainer whose accelerator is another one than was asked for.

    Raises:
        ConfigError: it is.
    """
    asked = asked_for(config)
    if asked is not None and asked.kind in _NAMES and asked.kind != distributed_type:
        told = f"{_name(asked.kind)} was asked for, and the trainer has {distributed_type}"
        raise ConfigError([Problem(asked.path, told, asked.kind, asked.source or "the configuration")])


def _launched(environ: Mapping[str, str]) -> str | None:
    """Return what accelerate's launcher has told its processes; None: nothing of a sharded model."""
    return next((kind for kind, name in _LAUNCHED.items() if environ.get(name, "").lower() in ("1", "true")), None)


def _is_lost(kind: str, state: str) -> bool:
    return state in _NOT_SHARDED or (kind == "DEEPSPEED" and state != kind)


def _instead(kind: str, args: SFTConfig) -> str:
    if kind == "DEEPSPEED" and args.use_cpu:
        return f"With use_cpu=true accelerate forgets DeepSpeed: set {_DEEPSPEED_ON_CPUS}."
    if args.world_size == 1:
        return "One process has nothing to share: start several, or leave it out."
    return f"{_name(kind)} needs GPUs; on CPUs leave it out, for DDP."


def _unable(config: TuningConfig, device: str) -> Iterator[Problem]:
    """Name kinds of parallelism that accelerate has for GPUs alone."""
    given = config.accelerate.get("parallelism_config")
    given = given if isinstance(given, Mapping) else {}
    for name, kind in _PARALLEL.items() if device == "cpu" else ():
        key = f"parallelism_config_{name}"
        size = given.get(key, os.environ.get(key.upper(), 1))  # the launcher tells of its own file by variables
        if str(size) != "1":
            path, source = f"accelerate.parallelism_config.{key}", None if key in given else "accelerate launch"
            told = f"{kind} parallelism needs GPUs, and the device is a CPU"
            yield Problem(path, told, size, source, "Leave it out.")


def _name(kind: str) -> str:
    return _NAMES.get(kind, _DDP)
