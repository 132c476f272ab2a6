"""Which packages of kernels are installed, and what they are for; none of them is imported."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

KERNEL_PACKAGES = ("flash_attn", "flash_attn_interface", "kernels", "liger_kernel")
"""Packages whose kernels transformers can use: FlashAttention 2 and 3, those of the Hub, Liger."""

_LIGER_TABLE = re.compile(r"^MODEL_TYPE_TO_APPLY_LIGER_FN\b[^{]*\{(.*?)^\}", re.MULTILINE | re.DOTALL)


def probe_kernels() -> frozenset[str]:
    """Name the kernel packages that can be imported."""
    return frozenset(name for name in KERNEL_PACKAGES if package_folder(name) is not None)


def liger_model_types() -> frozenset[str]:
    """Name the model types that the installed Liger has kernels for, from its own table; none where it is missing."""
    folder = package_folder("liger_kernel")
    table = _LIGER_TABLE.search(source_text(folder / "transformers" / "monkey_patch.py")) if folder else None
    return frozenset(re.findall(r'"([\w.-]+)"\s*:', table[1])) if table else frozenset()


def package_folder(name: str) -> Path | None:
    """Find the folder of an installed package, or of a single module; None where there is none."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    locations = spec.submodule_search_locations
    return Path(next(iter(locations))) if locations else Path(spec.origin or ".").parent


def source_text(file: Path) -> str:
    """Read a source file; empty where it cannot be read."""
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
