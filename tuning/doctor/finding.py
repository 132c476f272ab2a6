"""What one check found, and the table that people read."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

State = Literal["ok", "warning", "fault", "skipped"]
_MARKS: dict[State, str] = {"ok": "ok", "warning": "!", "fault": "FAULT", "skipped": "-"}
_NARROWEST = 60


@dataclass(frozen=True)
class Finding:
    """One line of the table; `difference` is what an invariance was off by, relative to the largest value, or a count.

    Only a `fault` makes the command end with 1.
    """

    name: str
    state: State
    told: str
    hint: str = ""
    difference: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return asdict(self)


def has_fault(findings: Sequence[Finding]) -> bool:
    """Tell whether anything would keep a run from being right."""
    return any(found.state == "fault" for found in findings)


def table(findings: Sequence[Finding], width: int) -> str:
    """Lay findings out for people, one line each, and under it what to do."""
    names = max((len(found.name) for found in findings), default=0)
    marks = max(map(len, _MARKS.values()))
    indent = " " * (names + marks + 4)
    lines = [line for found in findings for line in _lines(found, names, marks, indent, max(width, _NARROWEST))]
    faults, warnings = (sum(found.state == state for found in findings) for state in ("fault", "warning"))
    counted = f"{_counted(len(findings), 'check')}: {_counted(faults, 'fault')}, {_counted(warnings, 'warning')}"
    return "\n".join([*lines, "", f"{counted}."])


def _lines(found: Finding, names: int, marks: int, indent: str, width: int) -> list[str]:
    head = f"{found.name:<{names}}  {_MARKS[found.state]:<{marks}}  "
    told = [part for text in found.told.splitlines() or [""] for part in textwrap.wrap(text, width - len(indent))]
    first, *others = told or [""]
    hint = textwrap.wrap(found.hint, width - len(indent), initial_indent="-> ", subsequent_indent="   ")
    return [f"{head}{first}".rstrip(), *(f"{indent}{line}" for line in (*others, *hint))]


def _counted(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
