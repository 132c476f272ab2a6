"""See by a text whether it is UTF-8 that was once read in another encoding."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_QUOTATION_MARKS = "\x82\x84\x85\x8b\x91\x92\x93\x94\x9b\xab\xbb"
"""Bytes of quotation marks and of the ellipsis in Windows-1252: after a letter they are common in sound text."""
_BYTES = range(0x80, 0xC0)
"""The bytes that follow the first one of a character in UTF-8."""


def _as_read(number: int) -> str:
    """Return what a byte becomes where Latin-1 or Windows-1252 is assumed, each a character of a class."""
    latin = chr(number)
    windows = bytes([number]).decode("cp1252", errors="ignore")
    return "".join(re.escape(character) for character in dict.fromkeys(latin + windows))


_ANY = "[" + "".join(map(_as_read, _BYTES)) + "]"
_TELLING = "[" + "".join(_as_read(byte) for byte in _BYTES if chr(byte) not in _QUOTATION_MARKS) + "]"
_WRONG = re.compile(
    "(?=[\ufffdÂÃÎÏÐÑØÙà-ð\u201a])(?:"  # this look ahead alone halves the time
    "\ufffd"  # written where bytes could not be read at all
    f"|[ÂÃ]{_TELLING}"  # é, ü, ñ and the like, and the non-breaking space
    f"|â[\x80\u20ac]{_ANY}"  # quotation marks and dashes
    "|\u201aÄ[ìîòôúù¢¶]"  # the same where Mac Roman is assumed
    "|ï»¿"  # the byte order mark
    f"|[ÎÏÐÑØÙ]{_ANY}(?:[ÎÏÐÑØÙ]{_ANY})+"  # Greek, Cyrillic, Arabic: two letters or more
    f"|[à-ï]{_ANY}{_ANY}(?:[à-ï]{_ANY}{_ANY})+"  # Chinese, Japanese, Korean, Hindi: two or more
    f"|ð[\x9f\u0178]{_ANY}{_ANY})"  # emoji
)


def wrongly_decoded(row: Mapping[str, Any]) -> str | None:
    """Return what shows it, the first in the texts of a converted row; None where they read well."""
    for text in _texts(row):
        if not text.isascii() and (found := _WRONG.search(text)):
            return found[0]
    return None


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list) and not (value and isinstance(value[0], int)):  # token ids are no text
        for part in value:
            yield from _texts(part)
