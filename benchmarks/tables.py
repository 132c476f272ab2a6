"""Measured tables in the pages: each stands between two marks and is replaced as a whole."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = ("torch", "transformers", "trl", "aim", "mlflow", "wandb")


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def circumstances(command: str) -> str:
    """Say when, with what and how a table was measured."""
    found = [f"{name} {installed}" for name in _PACKAGES if (installed := _version(name))]
    machine = f"Python {platform.python_version()}, {_num_cores()} cores of {platform.machine()}"
    return f"Measured {time.strftime('%Y-%m-%d')} by `{command}`: {', '.join(found)}, {machine}."


def replace_between_marks(page: Path, name: str, content: str) -> None:
    """Put new content between the two marks of a name.

    Raises:
        ValueError: the page does not have them.
    """
    text = page.read_text(encoding="utf-8")
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
    before, found, rest = text.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found and found_end):
        raise ValueError(f"{page} has no marks for '{name}'")
    page.write_text(f"{before}{begin}\n{content}\n\n{end}{after}", encoding="utf-8")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _num_cores() -> int:
    import os

    return len(os.sched_getaffinity(0))
