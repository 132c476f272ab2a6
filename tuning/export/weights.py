"""The weights of a model on the disk: their files, their type, and how many there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuning.export.source import Source

_SAFETENSORS_TYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
_BYTES = {"bfloat16": 2, "float16": 2}
"""Of one weight; of the other types 4."""


def stored_dtype(source: Source) -> str:
    """Tell the type of the weights on disk: that of the headers, else the one of the configuration."""
    files = weight_files(source)
    if files:
        from safetensors import safe_open

        with safe_open(files[0], framework="np") as weights:
            found = {weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118 (no mapping)
        for name, dtype in _SAFETENSORS_TYPES.items():
            if name in found:
                return dtype
    return str(source.config.get("dtype") or source.config.get("torch_dtype") or "float32")


def weight_files(source: Source) -> list[Path]:
    """List the files of the base's weights, where the base is a folder."""
    return sorted(Path(source.saved.base).glob("*.safetensors")) if Path(source.saved.base).is_dir() else []


def model_bytes(source: Source) -> int:
    """Tell how large the weights are on disk, bytes; 0 where the base is on the Hub."""
    return sum(file.stat().st_size for file in weight_files(source))


def num_weights(source: Source) -> float:
    """Tell how many weights there are, by their bytes and their type; 0 where the base is on the Hub."""
    return model_bytes(source) / _BYTES.get(stored_dtype(source), 4)
