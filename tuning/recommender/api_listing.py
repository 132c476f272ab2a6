"""List what can be chosen under the folders that a server may read: names, and nothing of what is in the files."""

from __future__ import annotations

import itertools
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tuning.data.sources import files_of
from tuning.errors import UserError
from tuning.recommender.allowed_roots import AllowedRoots
from tuning.recommender.bounded_walk import MOST_SECONDS
from tuning.recommender.model_files import load_json

MOST_ENTRIES = 1_000


def listing(roots: AllowedRoots, path: str) -> dict[str, Any]:
    """List a folder; without a path, the allowed folders themselves.

    Raises:
        UserError: the path leads outside, or is no folder that can be read.
    """
    if not path:
        found = [_entry(roots, folder, folder.name or str(folder)) for folder in roots.folders]
        return {"path": "", "parent": None, "entries": [entry for entry in found if entry], "truncated": False}
    folder = roots.resolve(path)
    try:
        children = sorted(itertools.islice(folder.iterdir(), MOST_ENTRIES + 1), key=_folders_first)
    except OSError as error:
        raise UserError("is no folder that can be read") from error
    ends = time.monotonic() + MOST_SECONDS
    in_time = list(itertools.takewhile(lambda _: time.monotonic() < ends, _entries(roots, children[:MOST_ENTRIES])))
    return {
        "path": written(folder),
        "parent": "" if folder in roots.folders else written(folder.parent),
        "entries": in_time,
        "truncated": len(children) > MOST_ENTRIES or time.monotonic() >= ends,
    }


def written(path: Path) -> str:
    """Write a path as a configuration names it: from the current folder where it lies below, else in full."""
    here = Path.cwd().resolve()
    if path == here or here not in path.parents:
        return str(path)
    relative = str(path.relative_to(here))
    return f"./{relative}" if relative.startswith("~") else relative


def _entries(roots: AllowedRoots, children: list[Path]) -> Iterator[dict[str, str]]:
    for child in children:
        if not child.name.startswith(".") and _can_be_written(child.name):
            entry = _entry(roots, child, child.name)
            if entry is not None:
                yield entry


def _entry(roots: AllowedRoots, path: Path, name: str) -> dict[str, str] | None:
    """Describe what can be chosen; None for what leads outside or cannot be trained with."""
    try:
        target = roots.resolve(str(path))
        mode = target.stat().st_mode
    except (UserError, OSError):
        return None
    if stat.S_ISDIR(mode):
        return {"name": name, "path": written(path), "kind": "model" if _is_model(roots, target) else "folder"}
    return {"name": name, "path": written(path), "kind": "data"} if stat.S_ISREG(mode) and _is_data(target) else None


def _is_model(roots: AllowedRoots, folder: Path) -> bool:
    try:
        config = load_json(roots.regular(folder / "config.json"))
    except UserError:
        return False
    return config is not None and "model_type" in config


def _is_data(file: Path) -> bool:
    try:
        return bool(files_of([str(file)]))
    except UserError:
        return False


def _can_be_written(name: str) -> bool:
    try:
        return bool(name.encode("utf-8"))
    except UnicodeEncodeError:  # bytes that are no UTF-8
        return False


def _folders_first(path: Path) -> tuple[bool, str]:
    return not os.path.isdir(path), path.name
