"""Every error that this package raises on purpose, and the exit code that each one ends a command with.

TuningError              203  a fault of ours, or of the machine
├── UserError              1  the user's input
│   ├── ConfigError           one or more problems in the configuration, all told at once
│   ├── DataError             rows that cannot be trained on
│   └── MissingExtraError     a package that was asked for by name and is not installed
└── DiskFullError        203  a disk that takes no more, told without a traceback
Preempted                 75  stopped on request; the same command goes on
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

EXIT_SUCCESS = 0
EXIT_USER_ERROR = 1
EXIT_PREEMPTED = 75
EXIT_INTERNAL_ERROR = 203

_LONGEST_VALUE_SHOWN = 120
_LONGEST_PATH_SHOWN = 200
_LONGEST_REASON = 500
MOST_SHOWN = 30
"""Problems that one error tells; of more it tells the number."""


class TuningError(Exception):
    """Base of all errors of this package."""

    exit_code = EXIT_INTERNAL_ERROR


class DiskFullError(TuningError):
    """A disk that takes no more of what the run writes; checkpoints that are there stay whole."""


class Preempted(BaseException):
    """A run that was stopped on request and can go on.

    It is no Exception, as KeyboardInterrupt is none: a signal comes in any line, and libraries catch exceptions.
    """

    exit_code = EXIT_PREEMPTED


class UserError(TuningError, ValueError):
    """Input that the user can mend."""

    exit_code = EXIT_USER_ERROR


class DataError(UserError):
    """Rows or files that cannot be trained on."""


class MissingExtraError(UserError, ImportError):
    """A package that was asked for by name and is not installed."""

    def __init__(self, asked_for: str, package: str, extra: str) -> None:
        super().__init__(
            f"{asked_for} needs the package '{package}', which is not installed. "
            f"Install it with: pip install 'tuning[{extra}]'"
        )


@dataclass(frozen=True)
class Problem:
    """One thing wrong with the configuration: where it stands, what it is and what to do."""

    path: str
    expected: str
    value: Any = None
    source: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        got = "" if self.source is None else f"got {shown(self.value)} (from {self.source}); "
        hint = f" {self.hint}" if self.hint else ""
        path = self.path if len(self.path) <= _LONGEST_PATH_SHOWN else f"{self.path[:_LONGEST_PATH_SHOWN]}…"
        return f"{path}: {got}{self.expected.rstrip('.')}.{hint}"


class ConfigError(UserError):
    """Every problem found in one configuration."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        lines = [str(problem) for problem in self.problems[:MOST_SHOWN]]
        more = len(self.problems) - len(lines)
        super().__init__("\n".join([*lines, *([f"… and {more} more problems"] if more else [])]))


def reason_of(error: BaseException) -> str:
    """Say on one line, shortened where it is long, what a library raised on a file that is wrong."""
    text = " ".join(str(error).split())
    text = text if len(text) <= _LONGEST_REASON else f"{text[:_LONGEST_REASON]}…"
    return text if isinstance(error, OSError | ValueError) and text else f"{type(error).__name__}: {text}".rstrip(": ")


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text."""
    return next(iter(str(error).splitlines()), "")


def shown(value: Any) -> str:
    """Write a value for a message on one line, shortened where it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE_SHOWN else f"{text[:_LONGEST_VALUE_SHOWN]}… ({len(text)} characters)"
