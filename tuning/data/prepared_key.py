"""Where tokenized rows are kept, and under which name: one that changes with everything that they are made of."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tuning import __version__
from tuning.config.sections import Data, Dataset
from tuning.data.data_config import resolved
from tuning.data.encoding import Encoding
from tuning.data.formats import FORMATS
from tuning.data.handlers import DATA_HANDLERS
from tuning.data.run_datasets import datasets_of, validation_dataset
from tuning.data.sources import files_of
from tuning.data.tasks import TASKS

LAYOUT = 1
"""Number of the layout of a kept folder; another one is made anew."""
LOCKS = "locks"
"""Folder, beside the kept ones, of the files that are locked."""
_FOLDER = "tuning"
_CHANGES_NO_ROW = {"audit", "dataset_prepared_path"}
_DIGITS = 16


def prepared_path(data: Data) -> Path:
    """Return the folder of all tokenized rows: the configured one, or `tuning` beside Hugging Face's datasets cache."""
    if data.dataset_prepared_path is not None:
        return Path(os.path.expanduser(data.dataset_prepared_path))
    given = os.environ.get("HF_DATASETS_CACHE")
    if given:
        return Path(os.path.expanduser(given)) / _FOLDER
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return Path(os.path.expanduser(os.environ.get("HF_HOME") or cache / "huggingface")) / "datasets" / _FOLDER


def rows_key(data: Data, seed: int) -> str:
    """Return a digest of what rows are made of: files by path, size and time of change, the data section, the seed.

    A dataset on the Hub goes by its name: what was prepared of it once is taken up until it is deleted. Handlers and
    formats from outside this package go by the files that they stand in.

    Raises:
        UserError: the data section leads to no rows, or to a handler that is not known.
    """
    data = resolved(data)
    held_out = validation_dataset(data)
    datasets = [*datasets_of(data), *([held_out] if held_out is not None else [])]
    described = {
        "layout": LAYOUT,
        "version": __version__,
        "data": data.model_dump(exclude=_CHANGES_NO_ROW),
        "seed": seed,
        "files": [_stamp(file) for dataset in datasets for file in _files(dataset)],
        "code": [part for dataset in datasets for part in _code(dataset)],
    }
    return _digest(described)


def lock_file(folder: Path) -> Path:
    """Return the file that whoever writes to a kept folder locks."""
    return folder.parent / LOCKS / f"{folder.name}.lock"


def tokens_key(encodings: Sequence[Encoding]) -> str:
    """Return a digest of what tokens of rows are made of."""
    return _digest([encoding.fingerprint() for encoding in encodings])


def _files(dataset: Dataset) -> Iterator[Path]:
    for path in dataset.data_paths:
        yield from files_of([path], dataset.dataset_split) or ()


def _code(dataset: Dataset) -> Iterator[Any]:
    """Stamp the handlers, task types and formats that others wrote."""
    task = TASKS.load(dataset.task_type) if dataset.task_type is not None else None
    given = [dataset.data_format] if dataset.data_format is not None else []
    names = given or (FORMATS.names() if task is None else task.formats)
    found: list[Any] = [DATA_HANDLERS.load(handler.name) for handler in dataset.data_handlers or ()]
    found += [FORMATS.load(name) for name in names]
    yield repr(task)
    for target in found:
        yield from _stamps(getattr(target, "function", None) or getattr(target, "convert", None) or target)


def _stamps(code: Any) -> Iterator[Any]:
    """Stamp the file of a function from outside this package, and the arguments that are bound to it."""
    if isinstance(code, partial):
        bound = [code.func, *code.args, *code.keywords.values()]
        yield list(code.keywords), [repr(value) for value in bound if not callable(value)]
        for value in filter(callable, bound):  # their text holds an address, which is another one in each process
            yield from _stamps(value)
        return
    module = inspect.getmodule(code)
    file = getattr(module, "__file__", None)
    if module is not None and file and not module.__name__.startswith("tuning."):
        yield getattr(code, "__qualname__", type(code).__qualname__), _stamp(Path(file))


def _stamp(file: Path) -> tuple[str, int, int]:
    found = file.stat()
    return str(file.absolute()), found.st_size, found.st_mtime_ns


def _digest(described: Any) -> str:
    return hashlib.sha256(json.dumps(described, sort_keys=True, default=str).encode()).hexdigest()[:_DIGITS]
