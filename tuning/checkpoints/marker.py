"""`checkpoint.json`, the last file of a checkpoint: it names all others, by which a whole checkpoint is known."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tuning.weight_files import ADAPTER_WEIGHTS, WEIGHTS, holds, is_whole
from tuning.whole_files import write_whole

MARKER_FILE = "checkpoint.json"
STATE_FILE = "trainer_state.json"
_VERSION = 1
_MOST_BYTES_DIGESTED = 1 << 20
"""Files up to this size are known by their SHA-256, too. Source: states of generators and schedules, configurations and
adapters of a few megabytes are read in milliseconds; weights are not, and safetensors say how long they are."""


def mark_whole(folder: Path) -> None:
    """Wait until all files of a checkpoint are on the disk, and name them with their sizes in one more.

    Raises:
        OSError: the disk does not take them.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    entries = {path.relative_to(folder).as_posix(): _entry(path) for path in files}
    for path in files:
        sync(path)
    write_whole(folder / MARKER_FILE, f"{json.dumps({'version': _VERSION, 'files': entries}, indent=1)}\n")
    sync(folder / MARKER_FILE)
    sync(folder)


def sync(path: Path) -> None:
    """Wait until a file, or the list of a folder's files, is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def why_torn(folder: Path) -> str | None:
    """Say why a checkpoint cannot be gone on from; None: it is whole, as far as names, sizes and headers tell.

    One without a marker, as transformers alone writes it, is taken where its state, its weights and the archives of
    its optimizer, its schedule and its generators are there and not cut short.
    """
    try:
        return next(itertools.chain(_unlike_marker(folder), _unreadable(folder)), None)
    except OSError as error:
        return f"it cannot be read: {error}"


def read_state(folder: Path) -> dict[str, Any] | None:
    """Read the Trainer's state in a checkpoint; None where it is not there or not whole."""
    state = _read(folder / STATE_FILE)
    return state if isinstance(state, dict) and _has_its_types(state) else None


def _has_its_types(state: Mapping[str, Any]) -> bool:
    step, epoch = state.get("global_step"), state.get("epoch") or 0
    parts = ((state.get("log_history") or [], list), (state.get("stateful_callbacks") or {}, dict))
    is_counted = type(step) is int and step >= 0 and isinstance(epoch, int | float)
    return is_counted and all(isinstance(part, kind) for part, kind in parts)


def _entry(path: Path) -> dict[str, Any]:
    size = path.stat().st_size
    return {"bytes": size} | ({"sha256": _digest(path)} if size <= _MOST_BYTES_DIGESTED else {})


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _unlike_marker(folder: Path) -> Iterator[str]:
    """Say which files are not as the marker says."""
    if not (folder / MARKER_FILE).is_file():
        return
    marker = _read(folder / MARKER_FILE)
    entries = marker.get("files") if isinstance(marker, dict) else None
    if not isinstance(entries, dict):
        yield f"{MARKER_FILE} cannot be read"
        return
    for name, entry in entries.items():
        yield from _unlike_entry(folder, name, entry if isinstance(entry, dict) else {})


def _unlike_entry(folder: Path, name: str, entry: Mapping[str, Any]) -> Iterator[str]:
    path = folder / name
    if ".." in path.parts or not path.is_relative_to(folder) or not path.is_file():
        yield f"{name} is missing"
    elif path.stat().st_size != entry.get("bytes"):
        yield f"{name} has {path.stat().st_size} of its {entry.get('bytes')} bytes"
    elif "sha256" in entry and _digest(path) != entry["sha256"]:
        yield f"{name} is not as it was written"


def _unreadable(folder: Path) -> Iterator[str]:
    """Say what is missing or cut short, from the files themselves."""
    if read_state(folder) is None:
        yield f"{STATE_FILE} is missing or cut short"
    if not (holds(folder, (*WEIGHTS, *ADAPTER_WEIGHTS)) or _has_shards(folder)):
        yield "there are no weights in safetensors"
    yield from (f"{name} is missing" for name in sorted(_named_by_index(folder)) if not (folder / name).is_file())
    yield from (f"{path.name} is cut short" for path in sorted(folder.glob("*.safetensors")) if not is_whole(path))
    archives = sorted(path for pattern in ("*.pt", "*.pth") for path in folder.glob(pattern))
    yield from (f"{path.name} is cut short" for path in archives if not zipfile.is_zipfile(path))


def _has_shards(folder: Path) -> bool:
    """Tell whether FSDP or DeepSpeed has written the weights, each process its share."""
    return any(path.is_dir() for pattern in ("pytorch_model_fsdp*", "global_step*") for path in folder.glob(pattern))


def _named_by_index(folder: Path) -> set[str]:
    index = _read(folder / WEIGHTS[1])
    names = index.get("weight_map") if isinstance(index, dict) else None
    return {str(name) for name in names.values()} if isinstance(names, dict) else set()


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
