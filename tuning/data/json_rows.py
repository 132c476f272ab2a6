"""Parse JSON lines and JSON documents of rows strictly: a fault names its row, and no key stands twice."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from tuning.errors import DataError

_BLANK = re.compile(r"[ \t\r\n]*")


def rows_of_document(text: str, file: str) -> Iterator[Any]:
    """Yield the rows of an array, of an object that holds them in one of two ways, or of lines; `file` is for messages.

    Raises:
        DataError: it is no JSON, or holds no rows; names the row where there is one.
    """
    if not text.strip():
        return
    if text.lstrip().startswith("["):
        yield from _array(text, file)
    elif _is_json_lines(text):
        lines = (line for line in text.split("\n") if line.strip())
        yield from (parsed_line(line, f"{file} row {number}") for number, line in enumerate(lines, start=1))
    else:
        document, end = _element(text, _skip(text, 0), file)
        _refuse_rest(text, end, file)
        yield from _rows_of(document, file)


def _array(text: str, file: str) -> Iterator[Any]:
    """Parse the elements one by one, so that a fault names its row."""
    at = _skip(text, text.index("[") + 1)
    number = 0
    goes_on = text[at : at + 1] != "]"
    while goes_on:
        number += 1
        value, at = _element(text, at, f"{file} row {number}")
        yield value
        at = _skip(text, at)
        goes_on = text[at : at + 1] == ","
        at = _skip(text, at + 1) if goes_on else at
    if text[at : at + 1] != "]":
        raise DataError(f"{file} row {number}: not JSON: a comma or the end of the array is missing after it")
    _refuse_rest(text, at + 1, file)


def _refuse_rest(text: str, end: int, file: str) -> None:
    if text[end:].strip():
        line = 1 + text.count("\n", 0, _skip(text, end))
        raise DataError(f"{file}: not JSON: something follows the end of the document in line {line}")


def _element(text: str, at: int, place: str) -> tuple[Any, int]:
    try:
        return _DECODER.raw_decode(text, at)
    except json.JSONDecodeError as error:
        raise DataError(f"{place}: not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from error
    except DataError as error:
        raise DataError(f"{place}: {error}") from error


def _skip(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return at if found is None else found.end()


def _rows_of(document: Any, file: str) -> Sequence[Any]:
    """Find the rows of an object: under `data`, or as columns, each a list of equal length."""
    if not isinstance(document, dict):
        raise DataError(f"{file}: expected an array of rows, or an object with the rows under 'data'")
    if isinstance(document.get("data"), list):
        return document["data"]
    lengths = {name: len(column) for name, column in document.items() if isinstance(column, list)}
    if len(lengths) < max(2, len(document)):
        raise DataError(
            f"{file}: expected an array of rows, an object with the rows under 'data', or one with a list for each "
            f"column; got one with {', '.join(document) or 'nothing in it'}"
        )
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise DataError(f"{file}: the columns differ in length: {told}")
    return [dict(zip(document, cells, strict=True)) for cells in zip(*document.values(), strict=True)]


def _is_json_lines(text: str) -> bool:
    first = next(line for line in text.split("\n") if line.strip())
    try:
        return isinstance(json.loads(first), dict) and "\n" in text.strip()
    except ValueError:
        return False


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        repeated = sorted(key for key, times in Counter(key for key, _ in pairs).items() if times > 1)
        raise DataError(f"the key {', '.join(repeated)} stands more than once; keep one")
    return row


def parsed_line(text: str, place: str) -> Any:
    """Parse one line; `place` is for messages.

    Raises:
        DataError: it is no JSON, or a key stands twice in it.
    """
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        column = 1 + min(error.pos, len(text.rstrip()))
        raise DataError(f"{place}: not JSON: {error.msg} at column {column}") from error
    except DataError as error:
        raise DataError(f"{place}: {error}") from error


_DECODER = json.JSONDecoder(object_pairs_hook=_unique)
