"""What is refused before a model is loaded or a byte written."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tuning.errors import ConfigError, MissingExtraError, Problem
from tuning.export.exporter import EXPORT_FILE, QUANTIZE, Exporter, Options
from tuning.export.loaded import model_bytes
from tuning.export.source import Source
from tuning.export.torch_export import require_whole, unmergeable
from tuning.registry import did_you_mean

_ROOM = 1.1
"""Free bytes that are asked for, per byte of the weights in float32 that may be written."""


def refuse(exporter: Exporter, source: Source, folder: Path, options: Options, replace: bool = False) -> None:
    """Refuse what cannot become an export; `replace` allows a folder that holds one.

    Raises:
        MissingExtraError: the format's package is not installed.
        UserError: the model, the options, or the folder.
    """
    require_package(exporter)
    require_whole(source)
    found = [*unknown_type(exporter, options), *exporter.problems(source, options)]
    if exporter.merges_adapters:
        found += unmergeable(source)
    if not (replace and (folder / EXPORT_FILE).is_file()):
        found += _unusable_folder(folder)
    found += _no_room(source, folder)
    if found:
        raise ConfigError(found)


def require_package(exporter: Exporter) -> None:
    """Refuse a format whose package is missing.

    Raises:
        MissingExtraError: it is not installed.
    """
    if exporter.package is not None and importlib.util.find_spec(exporter.package) is None:
        raise MissingExtraError("this format of export", exporter.package, str(exporter.extra))


def unknown_type(exporter: Exporter, options: Options) -> Iterator[Problem]:
    """Name a type that the format does not have."""
    known = exporter.quantization_types
    if options.quantize is not None and known and options.quantize not in known:
        hint = did_you_mean(options.quantize, list(known))
        yield Problem(QUANTIZE, f"expected one of: {', '.join(known)}", options.quantize, "the export", hint)


def _unusable_folder(folder: Path) -> list[Problem]:
    if folder.exists() or folder.is_symlink():
        return [Problem("--out", "it is there already; move it away, or name another", str(folder), "the export")]
    parent = next(found for found in folder.absolute().parents if found.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        return [Problem("--out", f"nothing can be written in {parent}", str(folder), "the export")]
    return []


def _no_room(source: Source, folder: Path) -> list[Problem]:
    parent = next(found for found in folder.absolute().parents if found.exists())
    needed, free = model_bytes(source) * _ROOM, shutil.disk_usage(parent).free
    if needed <= free:
        return []
    told = f"{needed / 2**30:.1f} GiB are needed on the disk, and {free / 2**30:.1f} GiB are free"
    return [Problem("--out", told, str(folder), "the export")]
