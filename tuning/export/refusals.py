"""What is refused before a model is loaded or a byte written."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from tuning.errors import ConfigError, MissingExtraError, Problem
from tuning.export.exporter import EXPORT_FILE, QUANTIZE, Exporter, Options
from tuning.export.source import Source
from tuning.export.torch_export import quantized_on_disk, unmergeable
from tuning.full_disk import free_bytes, in_units
from tuning.registry import did_you_mean

OUT = "--out"
_ROOM = 1.1
"""Free bytes that are asked for, per byte of the weights that are written."""


def refuse(exporter: Exporter, source: Source, folder: Path, options: Options, replace: bool = False) -> None:
    """Refuse what cannot become an export; `replace` allows a folder that holds one.

    Raises:
        MissingExtraError: a package of the format is not installed.
        UserError: the model, the options, or the folder.
    """
    if missing := missing_extra(exporter):
        raise missing
    found = list(unusable_model(exporter, source, options))
    found = found or list(unusable_folder(exporter, source, folder, options, replace))
    if found:
        raise ConfigError(found)


def unusable_model(exporter: Exporter, source: Source, options: Options) -> Iterator[Problem]:
    """Name what of the model or of the options has no place in the format."""
    yield from _unknown_type(exporter, options)
    yield from exporter.problems(source, options)
    if exporter.merges_adapters:
        yield from unmergeable(source)
        yield from quantized_on_disk(source)


def unusable_folder(
    exporter: Exporter, source: Source, folder: Path, options: Options, replace: bool = False
) -> Iterator[Problem]:
    """Name why an export cannot be written to a folder; `replace` allows one that holds an export."""
    try:
        if not (replace and (folder / EXPORT_FILE).is_file()):
            yield from _not_writable(folder)
        yield from _no_room(exporter.needed_bytes(source, options), folder)
    except OSError as error:  # a name that is too long, above all
        yield Problem(OUT, f"it cannot be a folder: {error.strerror}", str(folder), "the export")


def missing_extra(exporter: Exporter) -> MissingExtraError | None:
    """Say which extra is to be installed where a package of a format is not here; None: all are."""
    for package in exporter.packages:
        if importlib.util.find_spec(package) is None:
            return MissingExtraError("this format of export", package, str(exporter.extra))
    return None


def _unknown_type(exporter: Exporter, options: Options) -> Iterator[Problem]:
    """Name a type that the format does not have."""
    known = exporter.quantization_types
    if options.quantize is not None and known and options.quantize not in known:
        hint = did_you_mean(options.quantize, list(known))
        yield Problem(QUANTIZE, f"expected one of: {', '.join(known)}", options.quantize, "the export", hint)


def _not_writable(folder: Path) -> Iterator[Problem]:
    if folder.exists() or folder.is_symlink():
        yield Problem(OUT, "it is there already; move it away, or name another", str(folder), "the export")
        return
    parent = _nearest(folder)
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        yield Problem(OUT, f"nothing can be written in {parent}", str(folder), "the export")


def _no_room(size: float, folder: Path) -> Iterator[Problem]:
    needed, free = size * _ROOM, free_bytes(folder.absolute().parent)
    if needed >= free:  # where nothing can be kept, as in /proc, none is free
        told = f"{in_units(needed)} are needed on the disk, and {in_units(free)} are free"
        yield Problem(OUT, told, str(folder), "the export")


def _nearest(folder: Path) -> Path:
    """Find the nearest folder above that is there."""
    return next(found for found in folder.absolute().parents if found.exists())
