"""Look before a run whether the disk holds what it is going to save."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from tuning.config.ir import IR
from tuning.config.schema import TuningConfig
from tuning.errors import ConfigError, Problem
from tuning.full_disk import free_bytes, in_units
from tuning.recommender.facts import Facts
from tuning.recommender.memory import lora_parameters
from tuning.recommender.memory_plan import planned_step
from tuning.recommender.model_facts import ModelFacts, probe_model

logger = logging.getLogger(__name__)

_PATH = "training.output_dir"
_ADAPTER_BYTES = 4
"""Of a parameter of an adapter. Source: PEFT keeps adapters in float32 whatever the base is in."""
_NUM_STATES = 2
"""Numbers that AdamW keeps for each parameter. Source: Loshchilov and Hutter, Decoupled Weight Decay Regularization."""


@dataclass(frozen=True)
class Need:
    """Least bytes of one checkpoint and of the model at the end; checkpoints hold an optimizer's state beside it."""

    checkpoint: int
    model: int


def check_room(config: TuningConfig, document: IR) -> None:
    """Refuse a run whose first checkpoint, or whose model, the disk clearly cannot hold; warn where more will not fit.

    Raises:
        ConfigError: names the folder, what is needed, what is free, and what to do.
    """
    model, folder = probe_model(document), Path(str(config.training.output_dir)).expanduser()
    need = least_need(document, model) if model is not None else None
    if need is None:
        return
    free, given = free_bytes(folder), config.training.model_dump()
    least = max(need.checkpoint, need.model)
    if free < least:
        what = "one checkpoint" if need.checkpoint else "the model"
        expected = f"{what} takes at least {in_units(least)}, and its disk has {in_units(free)} free"
        hint = "Make room, name a folder on another disk"
        hint += ", or save less with save_only_model=true or save_strategy=no." if need.checkpoint else "."
        raise ConfigError([Problem(_PATH, expected, str(folder), document.sources.get(_PATH), hint)])
    num_kept = 1 + (given.get("save_total_limit") or 1)  # the oldest goes once the newest is whole
    if need.checkpoint and free < num_kept * need.checkpoint + need.model:
        told = "%s: %d checkpoints of %s and the model of %s are there at once, and %s are free"
        logger.warning(told, folder, num_kept, in_units(need.checkpoint), in_units(need.model), in_units(free))


def least_need(document: IR, model: ModelFacts) -> Need | None:
    """Return what a run of the document saves at least; None where the model's files do not tell."""
    if model.shape is None or not model.num_parameters:
        return None
    step = planned_step(document, Facts(model=model))
    trained, size = model.num_parameters, step.dtype_bytes
    if step.r is not None:
        trained, size = lora_parameters(model.shape, step.r, step.target_modules), _ADAPTER_BYTES
    if document.get("training.save_strategy") == "no":
        return Need(0, trained * size)
    is_alone = document.get("training.save_only_model") is True
    return Need(trained * (size + (0 if is_alone else _optimizer_bytes(step.optim, size))), trained * size)


def _optimizer_bytes(optim: str, size: int) -> int:
    """Return the bytes of the optimizer's state for one parameter; 0 where it is another one than AdamW in full."""
    is_adamw = optim.startswith("adamw") and not any(bits in optim for bits in ("8bit", "4bit", "apex"))
    return _NUM_STATES * size if is_adamw else 0
