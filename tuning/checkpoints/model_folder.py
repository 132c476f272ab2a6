"""Write the files of a model so that none is ever there in half."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Set
from pathlib import Path
from typing import TYPE_CHECKING

from tuning.checkpoints.search import UNFINISHED
from tuning.full_disk import disk_full_error

if TYPE_CHECKING:
    from accelerate import Accelerator

_WEIGHTS_AND_ADAPTERS = ("model*.safetensors", "model.safetensors.index.json", "adapter_*")


@contextlib.contextmanager
def fill_whole(folder: Path, accelerator: Accelerator) -> Iterator[Path]:
    """Give a folder to write a model to, and move its files to theirs once all processes have written.

    Raises:
        DiskFullError: there is no room for the model; nothing of it is left.
    """
    draft = folder / UNFINISHED
    if accelerator.is_main_process:
        shutil.rmtree(draft, ignore_errors=True)  # of a run that was killed here
    accelerator.wait_for_everyone()
    try:
        yield draft
    except Exception as error:
        if accelerator.is_main_process:
            shutil.rmtree(draft, ignore_errors=True)
        if full := disk_full_error(error, "the model", folder, "it goes on from the last checkpoint"):
            raise full from error
        raise
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        _remove_other_weights(folder, {path.name for path in draft.iterdir()})
        for path in sorted(draft.iterdir()):
            _replace(path, folder / path.name)
        draft.rmdir()


def _remove_other_weights(folder: Path, names: Set[str]) -> None:
    """Remove weights of an earlier model: an adapter beside a whole model, or a shard too many, would be loaded."""
    for pattern in _WEIGHTS_AND_ADAPTERS:
        for path in folder.glob(pattern):
            if path.name not in names:
                path.unlink()


def _replace(path: Path, target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    path.replace(target)
