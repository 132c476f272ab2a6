"""Tokenized rows on disk: made once, under a lock, and taken up by every later run and every other process."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tuning.config.sections import Data
from tuning.data.encoding import Encoding
from tuning.data.prepared_key import lock_file, prepared_path, rows_key, tokens_key
from tuning.data.rows import Rows, check_skipped, load_rows
from tuning.data.shards import write_shards
from tuning.data.sources import Row, Skipped
from tuning.data.token_table import TokenTable
from tuning.errors import TuningError, UserError
from tuning.full_disk import disk_full_error

if TYPE_CHECKING:
    import pyarrow

logger = logging.getLogger(__name__)

SUMMARY_FILE = "prepared.json"
_HELD_OUT_FILE = "validation.rows.jsonl"
_SPLITS = ("train", "validation")
_PART = ".part"
"""Suffix of a folder that is being written."""


class Encodings(NamedTuple):
    """How the rows of each split become tokens; they differ where only one of them is packed."""

    train: Encoding
    validation: Encoding


@dataclass(frozen=True)
class Prepared:
    """The tokenized rows of a run, in the folder that holds them, and what is known of the rows that they were.

    `tables` holds `train` and, where rows are held out, `validation`; their columns stand in mapped memory.
    """

    folder: Path
    format: str
    is_chat: bool
    """Whether any row to train on is a conversation."""
    num_read: int
    skipped: Sequence[Skipped]
    tables: dict[str, TokenTable]
    files: dict[str, list[Path]]
    rows: Rows | None = None
    """The converted rows, in the process that made them; None: they were not read."""
    seconds: float = 0.0

    @property
    def is_new(self) -> bool:
        """Tell whether the rows were tokenized now."""
        return self.rows is not None

    def num_rows(self, split: str) -> int:
        """Count the converted rows of a split."""
        return len(self.tables[split].places) if split in self.tables else 0

    def num_tokens(self) -> int:
        """Count the tokens of all sequences."""
        return sum(len(chunk.flatten()) for table in self.tables.values() for chunk in table.table["input_ids"].chunks)

    def held_out_rows(self) -> list[Row]:
        """Read the converted rows that are held out."""
        file = self.folder / _HELD_OUT_FILE
        return [Row(*json.loads(line)) for line in file.read_text("utf-8").splitlines()] if file.is_file() else []


class PreparedRows:
    """A folder of tokenized rows, and the rows that this run wants of it."""

    def __init__(self, data: Data, seed: int, load: Callable[[], Rows] | None = None) -> None:
        """Note what the rows are made of; nothing is read. `load` reads them; None: `load_rows` does."""
        self.data = data
        self.load = load or (lambda: load_rows(data, seed))
        self.root = prepared_path(data)
        self.key = rows_key(data, seed)

    def load_new_rows(self) -> Rows | None:
        """Read and convert the rows where nothing of them is kept yet, so that a bad row costs no waiting."""
        found = self.root.glob(f"{self.key}-*/{SUMMARY_FILE}")
        return None if any(file.parent.suffix != _PART for file in found) else self.load()

    def prepare(self, encodings: Encodings, num_processes: int | None = None, rows: Rows | None = None) -> Prepared:
        """Take up the tokenized rows, or make them: one process does, while others wait for the lock.

        Raises:
            DataError: the rows cannot be read, converted or tokenized.
            UserError: the folder cannot be written to.
        """
        from filelock import FileLock

        started = time.monotonic()
        folder = self.root / f"{self.key}-{tokens_key(encodings)}"
        found = take_up(folder)
        if found is None:
            try:
                self.root.mkdir(parents=True, exist_ok=True)
                lock_file(folder).parent.mkdir(exist_ok=True)
                with FileLock(lock_file(folder)):
                    found = take_up(folder) or self._make(folder, encodings, num_processes, rows)
            except (OSError, TuningError) as error:
                if full := disk_full_error(error, "the tokenized rows", self.root, "it makes them anew"):
                    raise full from error
                if isinstance(error, TuningError):
                    raise
                told = f"data.dataset_prepared_path: cannot write tokenized rows to {self.root}: {error}"
                raise UserError(f"{told}. Name a folder that can be written to.") from error
        return replace(found, seconds=time.monotonic() - started)

    def _make(self, folder: Path, encodings: Encodings, num_processes: int | None, rows: Rows | None) -> Prepared:
        rows = rows or self.load()
        self._sweep(folder)
        new = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", suffix=_PART, dir=self.root))
        try:
            _write(new, rows, encodings, num_processes, self.data.max_skipped_share)
            shutil.rmtree(folder, ignore_errors=True)  # a damaged one
            new.rename(folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        made = take_up(folder)
        if made is None:
            raise UserError(f"{folder} was written and cannot be read; is the disk full?")
        return replace(made, rows=rows)

    def _sweep(self, ours: Path) -> None:
        """Remove what killed runs left: folders whose lock is free, or is the one that this process holds now."""
        from filelock import FileLock, Timeout

        for left in self.root.glob(f"*{_PART}"):
            folder = left.with_name(left.name.partition(".")[0])
            lock = contextlib.nullcontext() if folder == ours else FileLock(lock_file(folder), timeout=0)
            with contextlib.suppress(Timeout), lock:
                shutil.rmtree(left, ignore_errors=True)


def take_up(folder: Path) -> Prepared | None:
    """Map a kept folder into memory; None where there is none, or one that is damaged."""
    import pyarrow

    if not folder.is_dir():
        return None
    try:
        return _opened(folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pyarrow.ArrowException) as error:
        logger.warning("%s is damaged (%s); the rows are tokenized anew", folder, error)
        return None


def _write(folder: Path, rows: Rows, encodings: Encodings, num_processes: int | None, max_skipped_share: float) -> None:
    """Write a folder whose summary, written last, names every file with its size."""
    refused: list[Skipped] = []
    files: dict[str, list[str]] = {}
    for split, encoding in zip(_SPLITS, encodings, strict=True):
        converted = getattr(rows, split)
        if converted:
            logger.info("tokenizing %d rows (%s)", len(converted), split)
            shards, unfit = write_shards(converted, encoding, folder, split, num_processes)
            files[split] = [file.name for file in shards]
            refused += unfit
            _write_places(folder / _places_file(split), [row.place for row in converted])
    if refused:
        check_skipped([*rows.skipped, *refused], rows.num_read, max_skipped_share)
    _write_rows(folder / _HELD_OUT_FILE, rows.validation)
    summary = {
        "format": rows.format,
        "is_chat": any(map(_is_chat, rows.train)),
        "num_read": rows.num_read,
        "skipped": [*rows.skipped, *refused],
        "files": files,
        "bytes": {file.name: file.stat().st_size for file in sorted(folder.iterdir())},
    }
    (folder / SUMMARY_FILE).write_text(json.dumps(summary, indent=2, ensure_ascii=False), encoding="utf-8")


def _is_chat(row: Row) -> bool:
    return "messages" in row.values or not isinstance(row.values.get("prompt", ""), str)


def _opened(folder: Path) -> Prepared:
    summary = json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))
    for name, size in summary["bytes"].items():
        if (folder / name).stat().st_size != size:
            raise ValueError(f"{name} has not the {size} bytes that were written")
    files = {split: [folder / name for name in names] for split, names in summary["files"].items()}
    tables = {split: TokenTable(_mapped(shards), _places(folder, split)) for split, shards in files.items()}
    skipped = [Skipped(*one) for one in summary["skipped"]]
    return Prepared(folder, summary["format"], summary["is_chat"], summary["num_read"], skipped, tables, files)


def _mapped(files: Iterable[Path]) -> pyarrow.Table:
    import pyarrow

    return pyarrow.concat_tables(pyarrow.ipc.open_stream(pyarrow.memory_map(str(file))).read_all() for file in files)


class _Places(Sequence[str]):
    """The places of rows, read from a column as they are asked for."""

    def __init__(self, column: pyarrow.ChunkedArray) -> None:
        self.column = column

    def __len__(self) -> int:
        return len(self.column)

    def __getitem__(self, index: Any) -> Any:
        found = self.column[index]
        return found.to_pylist() if isinstance(index, slice) else found.as_py()


def _places(folder: Path, split: str) -> Sequence[str]:
    return _Places(_mapped([folder / _places_file(split)])["place"])


def _places_file(split: str) -> str:
    return f"{split}.places.arrow"


def _write_places(file: Path, places: Sequence[str]) -> None:
    import pyarrow

    table = pyarrow.table({"place": pyarrow.array(places, pyarrow.string())})
    with pyarrow.OSFile(str(file), "wb") as sink, pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def _write_rows(file: Path, rows: Iterable[Row]) -> None:
    with file.open("w", encoding="utf-8") as lines:
        lines.writelines(f"{json.dumps(row, ensure_ascii=False, default=str)}\n" for row in rows)
