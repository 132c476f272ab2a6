"""Read rows from files, folders, globs and Hub datasets, one at a time, each with the place it came from."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tuning.config.schema import TuningConfig
from tuning.data.readers import ENDINGS, ending, read_file
from tuning.data.tasks import unusable_tasks
from tuning.errors import DataError, Problem

_HUB_ID_PARTS = 2
_PATHS = ("training_data_path", "validation_data_path")
_TRAIN = "train"
_SPLITS = (_TRAIN, "training", "validation", "valid", "val", "dev", "test", "testing", "eval", "evaluation")
"""Names of splits. Source: the words by which `datasets` tells the splits of a folder apart."""
_HUB_NAMES = {"microsoft/ms_marco": "v2.1"}
"""Datasets on the Hub that have to be asked for by a second name."""

_NESTED = {"paragraphs": ("paragraph", "qas"), "qas": ("qa", "question"), "instances": ("instance", "output")}
"""Column that holds a list of rows -> what one is called, and the column that tells it from other lists."""


class Row(NamedTuple):
    """One row and where it stands: `train.jsonl row 12`, counted from 1."""

    place: str
    values: dict[str, Any]


class Skipped(NamedTuple):
    """A row that cannot be used: where it stands, and why."""

    place: str
    reason: str
    must_be_mended: bool = False
    """Such a row ends the run, however few there are."""


def read_rows(paths: Sequence[str], split: str | None = None) -> Iterator[Row | Skipped]:
    """Stream the rows of files, folders, globs or Hub datasets, in the order given and files sorted by name.

    `split` None is all files of a folder, and `train` of a Hub dataset; see `files_of`. Rows that hold a list of rows
    (SQuAD's paragraphs, Self-Instruct's instances) are laid flat.

    Raises:
        DataError: a file cannot be read; names the file and, where there is one, the row.
    """
    for path in paths:
        files = files_of([path], split)
        if files is None:
            yield from _placed(path, _read_hub(path, split or _TRAIN))
        for file in files or ():
            yield from _placed(str(file), read_file(file))


def _placed(name: str, found: Iterator[Any]) -> Iterator[Row | Skipped]:
    for number, values in enumerate(found, start=1):
        place = f"{name} row {number}"
        if not isinstance(values, dict):
            yield Skipped(place, f"expected an object with columns, got {type(values).__name__}")
        elif _NESTED.keys().isdisjoint(values):
            yield Row(place, values)
        else:
            yield from _laid_flat(place, values)


def _laid_flat(place: str, values: dict[str, Any]) -> Iterator[Row | Skipped]:
    """Make a row of each that a row holds, with the columns around it."""
    column = next((name for name in _NESTED if _holds_rows(values, name)), None)
    if column is None:
        yield Row(place, values)
        return
    around = {name: value for name, value in values.items() if name != column}
    for number, inner in enumerate(values[column], start=1):
        where = f"{place}, {_NESTED[column][0]} {number}"
        if isinstance(inner, Mapping):
            yield from _laid_flat(where, {**around, **inner})
        else:
            yield Skipped(where, f"column {column}: expected a list of objects, got {type(inner).__name__}")


def _holds_rows(values: Mapping[str, Any], column: str) -> bool:
    rows = values.get(column)
    return isinstance(rows, list) and any(isinstance(row, Mapping) and _NESTED[column][1] in row for row in rows)


def files_of(paths: Sequence[str], split: str | None = None) -> list[Path] | None:
    """List the files that paths stand for, or None where one of them is a Hub id.

    Of a folder, a split is the files that are named after it (`test.jsonl`, `test-00000.parquet`, `test/…`); `train` of
    a folder that names no split at all is all of its files. Of other files, `train` is all of them.
    """
    found = [_of_split(path, split) for path in paths]
    return None if any(files is None for files in found) else [file for files in found for file in files or ()]


def missing_sources(config: TuningConfig) -> Iterator[Problem]:
    """Name every data path that leads to no readable file, and every task type that brings none."""
    data = config.data
    yield from unusable_tasks(data)
    given = [("data", name, getattr(data, name), data.dataset_split) for name in _PATHS]
    for number, dataset in enumerate(data.datasets or ()):
        split = dataset.dataset_split or data.dataset_split
        given.append((f"data.datasets[{number}]", "data_paths", dataset.data_paths, split))
    for where, name, paths, split in given:
        for path in paths or ():
            yield from _missing(where, name, path, split)


def _missing(where: str, name: str, path: str, split: str | None) -> Iterator[Problem]:
    try:
        files = _files(path)
    except DataError as error:
        yield Problem(f"{where}.{name}", str(error), path)
        return
    if files == []:
        yield Problem(f"{where}.{name}", f"no data file is there; known: {', '.join(ENDINGS)}", path)
    if files and split is not None and not _of_split(path, split):
        told = f"no file at {path} is named after this split"
        yield Problem(f"{where}.dataset_split", told, hint="Leave it out, and give the files of the split.")


def _of_split(path: str, split: str | None) -> list[Path] | None:
    files, folder = _files(path), Path(os.path.expanduser(path))
    if files is None or split is None:
        return files
    if not folder.is_dir():
        return files if split == _TRAIN else []
    names_none = split == _TRAIN and not any(_is_named_after(file, folder, name) for file in files for name in _SPLITS)
    return files if names_none else [file for file in files if _is_named_after(file, folder, split)]


def _is_named_after(file: Path, folder: Path, split: str) -> bool:
    """Tell whether the name of a file, or of a folder around it below `folder`, says that it is of a split."""
    name = file.relative_to(folder)
    return split in name.parts[:-1] or re.match(rf"{re.escape(split)}[-_.]", name.name) is not None


def is_hidden(file: Path, folder: Path) -> bool:
    """Tell whether a file below a folder, or a folder between them, is hidden, as an editor's copies are."""
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _files(path: str) -> list[Path] | None:
    """List the data files at a path, sorted; None when it can only be a Hub id."""
    here = Path(os.path.expanduser(path))
    try:
        is_file = here.is_file()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}") from error
    if is_file:
        if ending(here) not in ENDINGS:
            raise DataError(f"cannot read a '{ending(here)}' file; known: {', '.join(ENDINGS)}")
        return [here]
    if here.is_dir():
        return sorted(file for file in here.rglob("*") if holds_rows(file) and not is_hidden(file, here))
    if glob.has_magic(path):
        return sorted(file for file in map(Path, glob.glob(str(here), recursive=True)) if holds_rows(file))
    if _looks_like_a_file(path):
        raise DataError("there is no such file")
    return None


def holds_rows(file: Path) -> bool:
    """Tell whether a file of a folder is data; `datasets` keeps notes of its own beside what it saves."""
    return ending(file) in ENDINGS and file.name not in ("dataset_info.json", "state.json", "dataset_dict.json")


def _looks_like_a_file(path: str) -> bool:
    parts = path.split("/")
    return path.startswith((".", "/", "~")) or ending(Path(path)) in ENDINGS or len(parts) > _HUB_ID_PARTS


def _read_hub(name: str, split: str) -> Iterator[dict[str, Any]]:
    from datasets import load_dataset

    try:
        dataset = load_dataset(name, _HUB_NAMES.get(name), split=split, streaming=True)
        yield from map(dict, dataset)
    except (OSError, ValueError, ConnectionError, RuntimeError) as error:
        raise DataError(
            f"'{name}' is no file here, and the dataset of that name cannot be read from the Hub: {error}"
        ) from error
