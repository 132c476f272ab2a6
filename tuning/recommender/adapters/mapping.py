"""Carry settings between our document and another program's by a table of rows, and keep account of what is lost."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from tuning.config.ir import DEFAULT, IR, leaves, merge_patch, nested
from tuning.config.names import field_paths
from tuning.config.schema import TuningConfig, sections
from tuning.config.section import Section
from tuning.config.types import describe_field
from tuning.errors import ConfigError, Problem
from tuning.recommender.adapters.adapter import Imported, Unmapped

Convert = Callable[[Any], Any]

_OURS_ALONE = {
    "acceleration": "holds plugins of this project, which {name} does not have",
    "evaluation": "is about measuring the model, which {name} is told about in other ways",
    "compute": "describes the machine, which {name} finds out or is told by its launcher",
    "recommender": "is about the recommender, which {name} does not have",
    "tracking": "is about trackers, which {name} is told about in other ways",
}


class NotSayable(Exception):
    """A value that the other side has no word for; the message says why."""


@dataclass(frozen=True)
class Row:
    """One setting: its dotted key in their document, its path in ours, and how its value changes on the way.

    `read` and `write` may raise `NotSayable`; `read` may raise `ValueError` with what was expected.
    """

    key: str
    path: str
    read: Convert = lambda value: value
    write: Convert = lambda value: value
    note: str = ""


def same_names(*names: str) -> tuple[Row, ...]:
    """Make rows for settings that have the same name and the same meaning on both sides."""
    return tuple(Row(name, field_paths()[name]) for name in names)


def one_of(words: Mapping[Any, Any], note: str = "") -> tuple[Convert, Convert]:
    """Make both conversions of a table of their words to ours; of two words for one thing the first is written."""
    ours: dict[Any, Any] = {}
    for theirs, our in words.items():
        ours.setdefault(our, theirs)

    def read(value: Any) -> Any:
        word = value.lower() if isinstance(value, str) else value
        if not isinstance(word, Hashable) or word not in words:
            raise NotSayable(f"{value!r} has no counterpart here{note}")
        return words[word]

    def write(value: Any) -> Any:
        if not isinstance(value, Hashable) or value not in ours:
            raise NotSayable(f"{value!r} has no counterpart there{note}")
        return ours[value]

    return read, write


def checked(path: str, value: Any) -> Any:
    """Return a value as the field at `path` holds it.

    Raises:
        ValueError: the field takes no such value; says what it takes.
    """
    section, _, name = path.partition(".")
    kind: type[Section] | None = sections().get(section) if name else TuningConfig
    field = kind.model_fields.get(name or section) if kind is not None else None
    if kind is None or field is None or value is None:
        return value
    try:
        return getattr(kind.model_validate({name or section: value}), name or section)
    except ValidationError as error:
        raise ValueError(f"expected {describe_field(field)}") from error


class Reading:
    """Their document while it is read: what is left of it, and what has been made of it so far."""

    def __init__(self, document: Mapping[str, Any], source: str) -> None:
        self.left: dict[str, Any] = copy.deepcopy(dict(document))
        self.source = source
        self.values: dict[str, Any] = {}
        self.unmapped: list[Unmapped] = []
        self.problems: list[Problem] = []
        self._given_as: dict[str, tuple[str, Any]] = {}

    def get(self, key: str) -> Any:
        """Return the value at a dotted key that nobody has taken yet; None where there is none."""
        node: Any = self.left
        for part in key.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None
        return node

    def take(self, key: str) -> Any:
        """Return the value at a dotted key and count it as dealt with; None where there is none."""
        value, (*parents, last) = self.get(key), key.split(".")
        if value is not None:
            holder = self.get(".".join(parents)) if parents else self.left
            del holder[last]
            if parents and not holder:
                self.take(".".join(parents))
        return value

    def put(self, path: str, value: Any, key: str) -> None:
        """Set a value of ours; one that the field does not take, or that another key contradicts, is a problem."""
        first, given = self._given_as.setdefault(path, (key, value))
        if first != key and given != value:
            self.refuse(key, value, f"'{first}' says the same setting otherwise; keep one")
            return
        try:
            self.values = merge_patch(self.values, nested(path, checked(path, value)))
        except ValueError as error:
            self.refuse(key, value, str(error))

    def refuse(self, key: str, value: Any, expected: str) -> None:
        """Note a value that is wrong on either side."""
        self.problems.append(Problem(key, expected, value, self.source))

    def skip(self, key: str, value: Any, why: str) -> None:
        """Note a value that has no counterpart here."""
        self.unmapped.append(Unmapped(key, value, why))

    def carry(self, row: Row) -> None:
        """Take the value of one row, if there is one, and set it here."""
        value = self.take(row.key)
        if value is not None:
            self.convert(row, value)

    def convert(self, row: Row, value: Any) -> None:
        """Set a value that was taken, as its row reads it."""
        try:
            self.put(row.path, row.read(value), row.key)
        except NotSayable as why:
            self.skip(row.key, value, str(why))
        except (ValueError, TypeError, AttributeError) as error:
            self.refuse(row.key, value, str(error) if isinstance(error, ValueError) else "is of the wrong type")

    def finish(self, reasons: Mapping[str, str], otherwise: str) -> Imported:
        """Count what nobody took as lost, and make the document.

        Raises:
            ConfigError: with every problem that was noted.
        """
        if self.problems:
            raise ConfigError(self.problems)
        for key, value in leaves(self.left):
            if value is not None:
                self.skip(key, value, _reason(key, reasons) or otherwise)
        return Imported(IR.of(self.values, self.source), tuple(self.unmapped))


class Writing:
    """Our document `ir` while it is written: what is left of it, and what has been made of it so far."""

    def __init__(self, ir: IR) -> None:
        self.ir = ir
        self.left: dict[str, Any] = dict(_fields(ir))
        self.defaults = {path for path in self.left if _is_default(ir, path)}
        self.document: dict[str, Any] = {}
        self.unmapped: list[Unmapped] = []

    def get(self, path: str) -> Any:
        """Return the value of a field that nobody has taken yet; None where it is undecided."""
        return self.left.get(path)

    def take(self, path: str) -> Any:
        """Return the value of a field and count it as dealt with; None where it is undecided."""
        return self.left.pop(path, None)

    def put(self, key: str, value: Any) -> None:
        """Set a value of theirs at a dotted key."""
        self.document = merge_patch(self.document, nested(key, value))

    def skip(self, path: str, value: Any, why: str) -> None:
        """Note a value that has no counterpart there; a default that nobody chose is not worth a word."""
        if path not in self.defaults:
            self.unmapped.append(Unmapped(path, value, why))

    def carry(self, row: Row) -> None:
        """Take the value of one row, if it is decided, and set it there."""
        value = self.take(row.path)
        if value is not None:
            self.carry_value(row.path, value, row.key, row.write)

    def carry_value(self, path: str, value: Any, key: str, write: Convert) -> None:
        """Set a value that was taken from `path` as their `key`."""
        try:
            self.put(key, write(value))
        except NotSayable as why:
            self.skip(path, value, str(why))

    def finish(self, name: str, reasons: Mapping[str, str]) -> tuple[Unmapped, ...]:
        """Count what nobody took as lost, and list everything that is."""
        ours = {section: why.format(name=name) for section, why in _OURS_ALONE.items()}
        for path, value in self.left.items():
            self.skip(path, value, _reason(path, {**ours, **reasons}) or f"{name} has no such setting")
        return tuple(self.unmapped)


def _fields(ir: IR) -> Iterator[tuple[str, Any]]:
    """Walk the decided fields of a document; an open object is one field, and so is what no section declares."""
    for key, value in ir.values.items():
        if isinstance(value, Mapping) and (key in sections() or key not in TuningConfig.model_fields):
            yield from ((f"{key}.{name}", item) for name, item in value.items() if item is not None)
        elif value is not None and value != {}:
            yield key, value


def _is_default(ir: IR, path: str) -> bool:
    origins = [origin for leaf, origin in ir.sources.items() if leaf == path or leaf.startswith(f"{path}.")]
    return bool(origins) and all(origin == DEFAULT for origin in origins)


def _reason(key: str, reasons: Mapping[str, str]) -> str | None:
    """Return the reason of a dotted key, or of the nearest part of the document that it is in."""
    parts = key.split(".")
    heads = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((reasons[head] for head in heads if head in reasons), None)
