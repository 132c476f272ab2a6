"""The names of the files of models and adapters, and whether one of weights in safetensors is whole."""

from __future__ import annotations

import json
from pathlib import Path

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
ADAPTER_WEIGHTS = ("adapter_model.safetensors",)
ADAPTER_CONFIG = "adapter_config.json"


def holds(folder: Path, names: tuple[str, ...]) -> bool:
    """Tell whether a folder has one of these files."""
    return any((folder / name).is_file() for name in names)


def is_whole(file: Path) -> bool:
    """Tell whether a safetensors file is as long as its header says.

    No weight is read, and safetensors itself is not asked: it would import numpy or torch to open a file.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        header_length = int.from_bytes(stream.read(8), "little")
        if header_length > size:
            return False
        try:
            header = json.loads(stream.read(header_length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            return size == 8 + header_length + max(ends, default=0)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            return False


def why_unreadable(folder: Path) -> str | None:
    """Say which of a model's safetensors files is missing, or is none by its header; None: all are sound.

    No weight is read. A part that the index does not expect in the folder itself counts as missing.
    """
    name = WEIGHTS[1]
    try:
        for name in _parts(folder):
            if Path(name).name != name or not (folder / name).is_file():
                return f"{name}: there is no such file in the folder, and {WEIGHTS[1]} names it"
            if not is_whole(folder / name):
                return f"{name}: it is cut short, or is not in the format safetensors"
    except ValueError as error:
        return f"{WEIGHTS[1]}: {error}"
    except OSError as error:
        return f"{name}: {error.strerror or error}"
    return None


def _parts(folder: Path) -> list[str]:
    """List the files of a model's weights: the one, or those that the index names.

    Raises:
        ValueError: the index cannot be read, or names none.
    """
    if (folder / WEIGHTS[0]).is_file():
        return [WEIGHTS[0]]
    try:
        index = json.loads((folder / WEIGHTS[1]).read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    names = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise ValueError("expected an object with the names of files under weight_map")
    return sorted(set(names.values()))
