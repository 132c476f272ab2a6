"""Read one file of rows, by its ending, as it stands; a file whose layout is broken is refused by name."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from tuning.data.json_rows import parsed_line, rows_of_document
from tuning.errors import DataError

_COMPRESSED = (".gz", ".zst")
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_DELIMITERS = (",", ";", "\t", "|")
"""What may part the cells of a CSV file; the first that the header holds does."""


def read_file(file: Path) -> Iterator[Any]:
    """Stream what stands in a file, one value per row.

    Raises:
        DataError: the file cannot be read; names it and, where there is one, the row and the column.
    """
    try:
        yield from _READERS[ending(file)](file)
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: {_first_bad_byte(file)}; save it as UTF-8") from error
    except DataError:
        raise
    except (OSError, ValueError, EOFError, csv.Error, zlib.error, RecursionError) as error:  # pyarrow's are among them
        raise DataError(f"{file}: cannot be read: {' '.join(str(error).split())}") from error


def ending(file: Path) -> str:
    """Return what tells a file's layout: `.jsonl` of `rows.jsonl`, `.jsonl.gz` of `rows.jsonl.gz`."""
    last = file.suffix.lower()
    return Path(file.stem).suffix.lower() + last if last in _COMPRESSED else last


def _read_jsonl(file: Path) -> Iterator[Any]:
    number = 0
    with _opened(file) as lines:
        for line in lines:
            if line.strip():
                number += 1
                yield parsed_line(line, f"{file} row {number}")


def _read_json(file: Path) -> Iterator[Any]:
    yield from rows_of_document(_whole(file), str(file))


def _read_csv(file: Path) -> Iterator[dict[str, str]]:
    text = _whole(file)
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # the limit of the whole process is 128 KiB, else
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text, file), strict=True)
    header = _header(reader, file)
    for number, cells in enumerate(filter(None, _cells(reader, file)), start=1):
        if len(cells) != len(header):
            told = f"column {header[len(cells)]} is missing" if len(cells) < len(header) else "the last has no column"
            raise DataError(f"{file} row {number}: has {len(cells)} cells where the header has {len(header)}; {told}")
        yield dict(zip(header, cells, strict=True))


def _cells(reader: Any, file: Path) -> Iterator[list[str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise DataError(f"{file} line {reader.line_num}: not CSV: {error}") from error


def _header(reader: Any, file: Path) -> list[str]:
    header = next(_cells(reader, file), [])
    _refuse_repeated(header, f"{file}: the header names {{}} more than once; rename one")
    return header


def _delimiter(text: str, file: Path) -> str:
    if ".tsv" in ending(file):
        return "\t"
    header = _QUOTED.sub("", text.lstrip("\r\n").partition("\n")[0])
    return next((mark for mark in _DELIMITERS if mark in header), _DELIMITERS[0])


def _read_parquet(file: Path) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet

    table = pyarrow.parquet.ParquetFile(file)
    _refuse_repeated(table.schema_arrow.names, f"{file}: has the column {{}} more than once; rename one")
    for batch in table.iter_batches():
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
            reader = batches = pyarrow.ipc.open_stream(source)
        _refuse_repeated(reader.schema.names, f"{file}: has the column {{}} more than once; rename one")
        for batch in batches:
            batch.validate(full=True)  # offsets of a damaged file would lead out of its memory
            yield from batch.to_pylist()


def _refuse_repeated(names: Sequence[str], message: str) -> None:
    repeated = sorted(name for name, times in Counter(names).items() if times > 1)
    if repeated:
        raise DataError(message.format(", ".join(repeated)))


def _bytes(file: Path) -> IO[bytes]:
    if file.suffix.lower() == ".gz":
        return gzip.open(file, "rb")  # type: ignore[return-value]  # it reads as one
    if file.suffix.lower() == ".zst":
        import pyarrow

        return pyarrow.input_stream(str(file), compression="zstd")  # type: ignore[return-value]  # it reads as one
    return file.open("rb")


def _opened(file: Path) -> io.TextIOWrapper:
    return io.TextIOWrapper(_bytes(file), encoding="utf-8-sig", newline="")


def _whole(file: Path) -> str:
    with _opened(file) as content:
        return content.read()


def _first_bad_byte(file: Path) -> str:
    """Say where a file stops being UTF-8; one that was packed may be damaged in other ways, too."""
    try:
        return _bad_line(file) or "not UTF-8"
    except (OSError, EOFError, ValueError, zlib.error):
        return "not UTF-8"


def _bad_line(file: Path) -> str | None:
    """Look for the byte line by line: no character holds a line end, so lines can be looked at alone."""
    before = 0
    with io.TextIOWrapper(_bytes(file), encoding="utf-8", errors="surrogateescape", newline="\n") as lines:
        for number, text in enumerate(lines, start=1):
            line = text.encode("utf-8", "surrogateescape")
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return f"not UTF-8 at byte {before + error.start} (line {number})"
            before += len(line)
    return None


_TEXT_READERS: dict[str, Callable[[Path], Iterator[Any]]] = {
    ".jsonl": _read_jsonl,
    ".json": _read_json,
    ".csv": _read_csv,
    ".tsv": _read_csv,
}
_READERS: dict[str, Callable[[Path], Iterator[Any]]] = {
    **_TEXT_READERS,
    **{name + packed: reader for name, reader in _TEXT_READERS.items() for packed in _COMPRESSED},
    ".parquet": _read_parquet,
    ".arrow": _read_arrow,
}
ENDINGS = tuple(_READERS)
"""The endings of files that can be read."""
