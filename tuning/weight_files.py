"""The names of the files of models and adapters, and whether one of weights in safetensors is whole."""

from __future__ import annotations

import json
import math
from pathlib import Path

WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
ADAPTER_WEIGHTS = ("adapter_model.safetensors",)
ADAPTER_CONFIG = "adapter_config.json"
_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
"""Bits of an element, by safetensors' names of types. Source: `Dtype` of safetensors 0.8."""


def holds(folder: Path, names: tuple[str, ...]) -> bool:
    """Tell whether a folder has one of these files."""
    return any((folder / name).is_file() for name in names)


def is_whole(file: Path) -> bool:
    """Tell whether a safetensors file holds what its header says, each tensor behind the one before and nothing else.

    No weight is read, and safetensors itself is not asked: it would import numpy or torch to open a file.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > size - 8:
            return False
        try:
            header = json.loads(stream.read(length))
            metadata = header.pop("__metadata__", {})
            extents = sorted(_extent(**entry) for entry in header.values())
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return False
    begins, ends = [begin for begin, _ in extents], [end for _, end in extents]
    is_text = isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values())
    return is_text and [*begins, size - 8 - length] == [0, *ends]


def _extent(dtype: str, shape: list[int], data_offsets: list[int]) -> tuple[int, int]:
    """Return where a tensor begins and ends, bytes.

    Raises:
        KeyError, TypeError, ValueError: it has an unknown type, or another size than that.
    """
    begin, end = data_offsets
    if not all(type(each) is int and each >= 0 for each in (begin, end, *shape)):
        raise ValueError("expected whole numbers, 0 or more")
    if 8 * (end - begin) != _BITS[dtype] * math.prod(shape):
        raise ValueError("another size than its type and shape make")
    return begin, end


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
