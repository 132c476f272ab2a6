"""Read rows from files, folders, globs and Hub datasets, one at a time, each with the place it came from."""

from __future__ import annotations

import csv
import glob
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tuning.config.schema import TuningConfig
from tuning.errors import DataError, Problem

_HUB_ID_PARTS = 2


class Row(NamedTuple):
    """One row and where it stands: `train.jsonl row 12`, counted from 1."""

    place: str
    values: dict[str, Any]


def read_rows(paths: Sequence[str], split: str = "train") -> Iterator[Row]:
    """Stream the rows of files, folders, globs or Hub datasets, in the order given and files sorted by name.

    Raises:
        DataError: a file cannot be read; names the file and, where there is one, the row.
    """
    for path in paths:
        files = _files(path)
        if files is None:
            yield from _read_hub(path, split)
        for file in files or ():
            for number, values in enumerate(_READERS[file.suffix.lower()](file), start=1):
                yield Row(f"{file} row {number}", _as_object(values, file, number))


def files_of(paths: Sequence[str]) -> list[Path] | None:
    """List the files that paths stand for, or None where one of them is a Hub id."""
    found = [_files(path) for path in paths]
    return None if any(files is None for files in found) else [file for files in found for file in files or ()]


def missing_sources(config: TuningConfig) -> Iterator[Problem]:
    """Name every data path that leads to no readable file."""
    for name in ("training_data_path", "validation_data_path"):
        for path in getattr(config.data, name) or ():
            try:
                files = _files(path)
            except DataError as error:
                yield Problem(f"data.{name}", str(error), path)
            else:
                if files == []:
                    yield Problem(f"data.{name}", f"no data file is there; known: {', '.join(_READERS)}", path)
                if files and config.data.dataset_split not in (None, "train"):
                    told = f"names a split of a dataset on the Hub; the files of {path} would be read whole"
                    yield Problem("data.dataset_split", told, hint="Leave it out, and give the files of the split.")


def _files(path: str) -> list[Path] | None:
    """List the data files at a path, sorted; None when it can only be a Hub id."""
    here = Path(path).expanduser()
    try:
        is_file = here.is_file()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}") from error
    if is_file:
        if here.suffix.lower() not in _READERS:
            raise DataError(f"cannot read a '{here.suffix}' file; known: {', '.join(_READERS)}")
        return [here]
    if here.is_dir():
        return sorted(file for file in here.rglob("*") if holds_rows(file))
    if glob.has_magic(path):
        return sorted(file for file in map(Path, glob.glob(str(here), recursive=True)) if holds_rows(file))
    if _looks_like_a_file(path):
        raise DataError("there is no such file")
    return None


def holds_rows(file: Path) -> bool:
    """Tell whether a file of a folder is data; `datasets` keeps notes of its own beside what it saves."""
    return file.suffix.lower() in _READERS and file.name not in ("dataset_info.json", "state.json", "dataset_dict.json")


def _looks_like_a_file(path: str) -> bool:
    parts = path.split("/")
    return path.startswith((".", "/", "~")) or Path(path).suffix.lower() in _READERS or len(parts) > _HUB_ID_PARTS


def _read_hub(name: str, split: str) -> Iterator[Row]:
    from datasets import load_dataset

    try:
        dataset = load_dataset(name, split=split, streaming=True)
        for number, values in enumerate(dataset, start=1):
            yield Row(f"{name} row {number}", dict(values))
    except (OSError, ValueError, ConnectionError, RuntimeError) as error:
        raise DataError(
            f"'{name}' is no file here, and the dataset of that name cannot be read from the Hub: {error}"
        ) from error


def _read_jsonl(file: Path) -> Iterator[Any]:
    number = 0
    for line in _text_lines(file):
        if not line.strip():
            continue
        number += 1
        yield _parse(line, f"{file} row {number}")


def _read_json(file: Path) -> Iterator[Any]:
    """Read a JSON array of rows, an object that holds the rows under `data`, or JSON lines under the wrong ending."""
    text = "".join(_text_lines(file))
    if not text.strip():
        return
    if not text.lstrip().startswith("[") and _is_json_lines(text):
        yield from (_parse(line, str(file)) for line in text.split("\n") if line.strip())
        return
    document = _parse(text, str(file))
    rows = document.get("data") if isinstance(document, dict) else document
    if not isinstance(rows, list):
        raise DataError(f"{file}: expected an array of rows, or an object with the rows under 'data'")
    yield from rows


def _is_json_lines(text: str) -> bool:
    first = next(line for line in text.split("\n") if line.strip())
    try:
        return isinstance(json.loads(first), dict) and "\n" in text.strip()
    except ValueError:
        return False


def _read_csv(file: Path) -> Iterator[dict[str, str]]:
    reader = csv.reader(io.StringIO("".join(_text_lines(file)), newline=""), strict=True)
    header = next(reader, [])
    repeated = sorted(name for name, times in Counter(header).items() if times > 1)
    if repeated:
        raise DataError(f"{file}: the header names {', '.join(repeated)} more than once; rename one")
    for number, cells in enumerate(reader, start=1):
        if cells and len(cells) != len(header):
            raise DataError(f"{file} row {number}: has {len(cells)} cells where the header has {len(header)}")
        if cells:
            yield dict(zip(header, cells, strict=True))


def _read_parquet(file: Path) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet

    for batch in pyarrow.parquet.ParquetFile(file).iter_batches():
        yield from batch.to_pylist()


def _read_arrow(file: Path) -> Iterator[dict[str, Any]]:
    """Read both layouts of Arrow files: the file format and the stream that `datasets` writes."""
    import pyarrow

    with pyarrow.memory_map(str(file)) as source:
        try:
            reader = pyarrow.ipc.open_file(source)
            batches = (reader.get_batch(index) for index in range(reader.num_record_batches))
        except pyarrow.ArrowInvalid:
            source.seek(0)
            batches = iter(pyarrow.ipc.open_stream(source))
        for batch in batches:
            yield from batch.to_pylist()


def _readable(reader: Callable[[Path], Iterator[Any]]) -> Callable[[Path], Iterator[Any]]:
    """Say of any failure of a reader which file it was."""

    def read(file: Path) -> Iterator[Any]:
        try:
            yield from reader(file)
        except UnicodeDecodeError as error:
            raise DataError(f"{file}: not UTF-8 at byte {error.start}; save it as UTF-8") from error
        except DataError:
            raise
        except (OSError, ValueError, csv.Error, RecursionError) as error:  # pyarrow's errors are both
            raise DataError(f"{file}: cannot be read: {' '.join(str(error).split())}") from error

    return read


_READERS = {
    ".jsonl": _readable(_read_jsonl),
    ".json": _readable(_read_json),
    ".csv": _readable(_read_csv),
    ".parquet": _readable(_read_parquet),
    ".arrow": _readable(_read_arrow),
}


def _text_lines(file: Path) -> Iterator[str]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        yield from lines


def _parse(text: str, place: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        row = dict(pairs)
        if len(row) != len(pairs):
            repeated = sorted(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
            raise DataError(f"{place}: the key {', '.join(repeated)} stands more than once; keep one")
        return row

    try:
        return json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise DataError(f"{place}: not JSON: {error.msg} at column {error.colno}") from error


def _as_object(values: Any, file: Path, number: int) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise DataError(f"{file} row {number}: expected an object with columns, got {type(values).__name__}")
    return values
