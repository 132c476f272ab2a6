"""Show a tokenized row to a person: what is trained on set apart, and nothing that a terminal would act on."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tuning.causal_lm import IGNORED_LABEL

Decode = Callable[[Sequence[int]], str]

OPENING, CLOSING = "⟦", "⟧"
_GREEN, _DIM, _RESET = "\x1b[32m", "\x1b[2m", "\x1b[0m"
_ENDS_SHOWN = 600
"""Characters that are shown of each end of a long text."""
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode's categories of what is no letter and no sign: controls, marks of direction, surrogates, line separators."""


class Part(NamedTuple):
    """A stretch of a row's text: of supervised tokens or of others, one special token or text."""

    text: str
    is_supervised: bool
    is_special: bool


@dataclass(frozen=True)
class Style:
    """How rows are shown: in lines of so many columns, with colours or with marks around what is trained on."""

    width: int
    has_colour: bool


def parts_of(input_ids: Sequence[int], labels: Sequence[int], decode: Decode, special: Collection[int]) -> list[Part]:
    """Part a sequence where supervision begins or ends, and around its special tokens.

    What a part adds to the text before it is shown, because a tokenizer decodes a text alone in another way.
    """
    kinds = [(label != IGNORED_LABEL, token in special) for token, label in zip(input_ids, labels, strict=True)]
    parts: list[Part] = []
    done, before = 0, ""
    for (is_supervised, is_special), run in itertools.groupby(kinds):
        end = done + sum(1 for _ in run)
        text = decode(input_ids[:end])
        added = text[len(before) :] if text.startswith(before) else decode(input_ids[done:end])
        parts.append(Part(added, is_supervised, is_special))
        done, before = end, text
    return parts


def shown(parts: Sequence[Part], style: Style) -> str:
    """Write parts as lines; what is trained on is green, or stands between marks, and special tokens are dim.

    Line breaks at the end are left out.
    """
    lines = _Lines(style.width)
    for is_supervised, run in itertools.groupby(parts, key=lambda part: part.is_supervised):
        marked = is_supervised and not style.has_colour
        pieces = [(f"{OPENING if marked else ''}", "")]
        for part in run:
            colour = _colour(part) if style.has_colour else ""
            pieces += [(harmless(_shortened(part.text), marks=not style.has_colour), colour)]
        for text, colour in [*pieces, (CLOSING if marked else "", "")]:
            lines.write(text, colour)
    return "\n".join(lines.lines).rstrip("\n")


def harmless(text: str, marks: bool = False) -> str:
    """Write what a terminal would act on, and no one would see, as escapes; line breaks stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(character) if _is_hidden(character, marks) else character for character in text)


def _is_hidden(character: str, marks: bool) -> bool:
    if character == "\n":
        return False
    return unicodedata.category(character) in _HIDDEN_CATEGORIES or (marks and character in (OPENING, CLOSING))


def _escaped(character: str) -> str:
    code = ord(character)
    if character in "\t\r":
        return {"\t": "\\t", "\r": "\\r"}[character]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _shortened(text: str) -> str:
    left_out = len(text) - 2 * _ENDS_SHOWN
    if left_out <= 0:
        return text
    return f"{text[:_ENDS_SHOWN]} … {left_out:,} characters … {text[-_ENDS_SHOWN:]}"


def _colour(part: Part) -> str:
    return (_GREEN if part.is_supervised else "") + (_DIM if part.is_special else "")


class _Lines:
    """Lines of at most so many columns; each stretch of colour ends with its line."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.lines = [""]
        self.column = 0

    def write(self, text: str, colour: str) -> None:
        for number, line in enumerate(text.split("\n")):
            if number:
                self._break()
            for stretch in self._stretches(line):
                self.lines[-1] += f"{colour}{stretch}{_RESET}" if colour and stretch else stretch

    def _stretches(self, line: str) -> Iterator[str]:
        start = 0
        for index, character in enumerate(line):
            columns = 2 if unicodedata.east_asian_width(character) in "WF" else 1
            if self.column + columns > self.width:
                yield line[start:index]
                start = index
                self._break()
            self.column += columns
        yield line[start:]

    def _break(self) -> None:
        self.lines.append("")
        self.column = 0
