"""Export a checkpoint that FSDP2 has left in parts: its weights are put together for as long as the export takes."""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tuning.errors import UserError
from tuning.export.source import Source, find_source
from tuning.manifest import run_of
from tuning.sharding.parts import has_parts, read_model_parts
from tuning.weight_files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, WEIGHTS

logger = logging.getLogger(__name__)

_BESIDE = ("*.json", "*.jinja", "*.model", "*.txt")
"""What a model is loaded with beside its weights."""


@contextlib.contextmanager
def opened_source(name: str, base: str | None = None) -> Iterator[Source]:
    """Find what is exported, as `find_source` does; the parts of a checkpoint are joined in a temporary folder.

    Raises:
        UserError: it is nothing that can be exported, or its parts cannot be read.
    """
    folder = Path(name).expanduser()
    if not _has_parts(folder):
        yield find_source(name, base)
        return
    with tempfile.TemporaryDirectory(prefix="tune-parts-") as temporary:
        whole = Path(temporary) / folder.resolve().name
        logger.info("export: the parts of %s are put together", folder)
        write_whole_weights(folder, whole)
        yield replace(find_source(str(whole), base, run_of(folder)), in_parts=folder)


def _has_parts(folder: Path) -> bool:
    try:
        return has_parts(folder)
    except OSError as error:  # a name that is too long, above all
        raise UserError(f"{folder}: it cannot be looked at: {error.strerror}") from error


def write_whole_weights(checkpoint: Path, folder: Path) -> None:
    """Write the model or the adapter of a checkpoint in parts as transformers or PEFT would have saved it.

    Raises:
        UserError: the parts cannot be read.
    """
    from safetensors.torch import save_file

    folder.mkdir()
    for file in (found for pattern in _BESIDE for found in checkpoint.glob(pattern)):
        shutil.copyfile(file, folder / file.name)
    name = (ADAPTER_WEIGHTS if (checkpoint / ADAPTER_CONFIG).is_file() else WEIGHTS)[0]
    save_file(read_model_parts(checkpoint), folder / name, metadata={"format": "pt"})
