"""Find the checkpoint from which a run goes on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from tuning.checkpoints.marker import read_state, why_torn
from tuning.config.schema import TuningConfig
from tuning.config.sections import ADAPTER_METHODS
from tuning.errors import UserError
from tuning.weight_files import ADAPTER_WEIGHTS, WEIGHTS, holds

logger = logging.getLogger(__name__)

UNFINISHED = "unfinished"
"""Folder beside the checkpoints in which one is written, under the name that it gets once it is whole."""
_OPTIMIZERS = ("optimizer.pt", "optimizer.bin", "optimizer_*", "global_step*")
"""Where transformers alone, FSDP and DeepSpeed keep the optimizer's state."""


def find_checkpoint(config: TuningConfig) -> str | None:
    """Return the folder to go on from: the one that was named, or the newest whole one in the run folder.

    Raises:
        UserError: a checkpoint was asked for and is not there, or is not whole.
    """
    asked, field = config.training.resume_from_checkpoint, "training.resume_from_checkpoint"
    if asked is False:
        return None
    if isinstance(asked, str):
        named = Path(asked).expanduser()
        if reason := why_torn(named):
            raise UserError(f"{field}: '{asked}' is not a complete checkpoint: {reason}")
        return _usable(named, config)
    folder = Path(str(config.training.output_dir)).expanduser()
    torn = dict(torn_checkpoints(folder))
    for checkpoint, reason in torn.items():
        logger.warning("%s is not complete (%s); it is passed over", checkpoint, reason)
    whole = [checkpoint for checkpoint in checkpoints(folder) if checkpoint not in torn]
    if asked is True and not whole:
        raise UserError(f"{field}: there is no complete checkpoint in {folder}")
    return _usable(whole[-1], config) if whole else None


def checkpoints(folder: Path) -> list[Path]:
    """List the checkpoints of a run folder, whole or not, by their steps."""
    found = [path for path in folder.glob("checkpoint-*") if path.is_dir() and _step(path).isdecimal()]
    return sorted(found, key=lambda path: int(_step(path)))


def torn_checkpoints(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield the checkpoints of a run folder that cannot be gone on from, and why."""
    for checkpoint in checkpoints(folder):
        if reason := why_torn(checkpoint):
            yield checkpoint, reason
    yield from ((path, "it was still being saved") for path in sorted((folder / UNFINISHED).glob("*checkpoint-*")))


def is_finished(checkpoint: str, max_steps: int, num_train_epochs: float) -> bool:
    """Tell whether a checkpoint is the last step of a run of so many steps (0 or less: of so many epochs)."""
    state = read_state(Path(checkpoint)) or {}
    if max_steps > 0:
        return state.get("global_step", 0) >= max_steps
    return (state.get("epoch") or 0) >= num_train_epochs


def _step(checkpoint: Path) -> str:
    return checkpoint.name.rpartition("-")[2]


def _usable(checkpoint: Path, config: TuningConfig) -> str:
    """Refuse to go on with adapters where all weights are trained, and the other way round."""
    is_adapter, wants_adapter = holds(checkpoint, ADAPTER_WEIGHTS), config.peft.peft_method in ADAPTER_METHODS
    if is_adapter != wants_adapter and holds(checkpoint, (*WEIGHTS, *ADAPTER_WEIGHTS)):
        kind = "adapters" if is_adapter else "all weights"
        raise UserError(
            f"peft.peft_method: {checkpoint} holds {kind}, and this run trains something else; "
            "choose another output_dir, or resume_from_checkpoint=false"
        )
    if not any(True for name in _OPTIMIZERS for _ in checkpoint.glob(name)):
        told = "%s holds weights alone (save_only_model): the optimizer and its learning rate start anew"
        logger.warning(told, checkpoint)
    return str(checkpoint)
