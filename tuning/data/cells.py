"""Take a value of a row as text, or say why it is none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tuning.data.templates import ANSWER_BEGINS, ANSWER_ENDS
from tuning.errors import DataError

_REFUSED = re.compile(f"[\ud800-\udfff{ANSWER_BEGINS}{ANSWER_ENDS}]")


def text_of(row: Mapping[str, Any], column: str, may_be_empty: bool = False) -> str:
    """Return the text in a column; a number or anything else is never turned into text.

    Raises:
        DataError: it is missing, no text, or empty; names the column.
    """
    if column not in row:
        raise DataError(f"column {column}: is missing")
    return checked_text(row[column], f"column {column}", may_be_empty)


def optional_text(row: Mapping[str, Any], column: str) -> str:
    """Return the text in a column; empty where it is missing, null or blank.

    Raises:
        DataError: it is no text.
    """
    text = text_of(row, column, may_be_empty=True) if row.get(column) is not None else ""
    return text if text.strip() else ""


def checked_text(value: Any, where: str, may_be_empty: bool = False) -> str:
    """Return a value that is text; `where` names it in messages.

    Raises:
        DataError: it is no text, empty, or holds a character that no text may hold.
    """
    if not isinstance(value, str):
        raise DataError(f"{where}: expected text, got {type(value).__name__}")
    if not may_be_empty and not value.strip():
        raise DataError(f"{where}: is empty")
    refuse_characters(value, where)
    return value


def refuse_characters(text: str, where: str) -> None:
    """Refuse half of a character, which JSON can spell and no encoding can write, and what marks answers here.

    Raises:
        DataError: there is one.
    """
    found = None if text.isascii() else _REFUSED.search(text)
    if found is None:
        return
    if found[0] in (ANSWER_BEGINS, ANSWER_ENDS):
        raise DataError(f"{where}: holds U+{ord(found[0]):X}, a character that no text may hold")
    raise DataError(f"{where}: holds a lone surrogate, which no encoding can write")
