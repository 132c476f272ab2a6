"""Find the datasets among a run's params: under `data`, each mapping that has a path and a SHA-256 is one."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tuning.trackers.backend import Dataset
from tuning.trackers.params import Scalar

_SECTION = "data."
_DIGEST = ".sha256"


def datasets_in(flat: Mapping[str, Scalar]) -> list[Dataset]:
    """List the datasets that flat params describe: `data.NAME.path`, `.sha256`, `.rows` and `.columns`."""
    names = [key[len(_SECTION) : -len(_DIGEST)] for key in flat if key.startswith(_SECTION) and key.endswith(_DIGEST)]
    return [_dataset(name, flat) for name in names if "." not in name and f"{_SECTION}{name}.path" in flat]


def _dataset(name: str, flat: Mapping[str, Scalar]) -> Dataset:
    here = f"{_SECTION}{name}."
    rows, columns = flat.get(f"{here}rows"), f"{here}columns."
    return Dataset(
        name=name,
        paths=_paths(str(flat[f"{here}path"])),
        sha256=str(flat[f"{here}sha256"]),
        rows=rows if isinstance(rows, int) else None,
        columns={key.removeprefix(columns): str(kind) for key, kind in flat.items() if key.startswith(columns)},
    )


def _paths(text: str) -> tuple[str, ...]:
    """Undo what `flatten` makes of several paths."""
    try:
        loaded = json.loads(text)
    except ValueError:
        return (text,)
    return tuple(map(str, loaded)) if isinstance(loaded, list) else (text,)
