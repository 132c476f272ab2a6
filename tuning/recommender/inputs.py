"""What an action looks at: seen by letting it decide once more over a document and facts that take notes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tuning.config.ir import IR
from tuning.recommender.action import Action
from tuning.recommender.facts import Facts

T = TypeVar("T")

_FACTS = "facts."
_LONGEST_LIST = 16
_LONGEST_TEXT = 200


def inputs_of(action: Action, ir: IR, facts: Facts) -> dict[str, Any]:
    """Map the path of each value and fact that an action reads, in the order of reading, to what it finds there.

    `ir` is the completed document: the action decides over it as it did in the engine's last pass. Paths of facts start
    with `facts.`, as in `facts.model.num_parameters`; all others are paths of the document.
    """
    reads: dict[str, Any] = {}
    sections = {
        each.name: _watched(value, f"{_FACTS}{each.name}.", reads)
        for each in dataclasses.fields(facts)
        if _is_section(value := getattr(facts, each.name))
    }
    action.apply(
        _WatchedIR(ir.values, ir.sources, reads), _watched(dataclasses.replace(facts, **sections), _FACTS, reads)
    )
    return {path: _told(value) for path, value in reads.items() if path.removeprefix(_FACTS) not in sections}


@dataclass(frozen=True)
class _WatchedIR(IR):
    reads: dict[str, Any] = field(default_factory=dict)

    def get(self, path: str, default: Any = None) -> Any:
        value = super().get(path, default)
        self.reads.setdefault(path, value)
        return value

    def is_set_by_user(self, path: str) -> bool:
        self.reads.setdefault(path, super().get(path))
        return super().is_set_by_user(path)


def _watched(facts: T, prefix: str, reads: dict[str, Any]) -> T:
    """Copy facts into a class that notes which of its fields are asked for."""
    kind: Any = type(facts)
    names = {each.name for each in dataclasses.fields(kind)}

    class Watched(kind):
        def __getattribute__(self, name: str) -> Any:
            value = super().__getattribute__(name)
            if name in names:
                reads.setdefault(f"{prefix}{name}", value)
            return value

    return Watched(**{name: getattr(facts, name) for name in names})


def _is_section(value: Any) -> bool:
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def _told(value: Any) -> Any:
    """Write what is read as JSON; of what is long only the length is told, and of an object, as a row is, its keys."""
    if _is_section(value):
        return {each.name: _told(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, Set):
        return sorted(map(str, value))
    if isinstance(value, (list, tuple)):
        return [_told(item) for item in value] if len(value) <= _LONGEST_LIST else f"{len(value):,} items"
    if isinstance(value, Mapping):
        return f"keys {', '.join(map(str, value))}"
    if value is None or isinstance(value, (bool, int, float)):
        return value
    text = str(value)
    return text if len(text) <= _LONGEST_TEXT else f"{len(text):,} characters"
