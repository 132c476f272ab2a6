"""Take a command line apart: one configuration file and any number of overrides."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tuning.config.names import path_of
from tuning.config.schema import TuningConfig, sections
from tuning.config.types import takes_only_text
from tuning.errors import Problem

_KEY_VALUE = re.compile(r"^([A-Za-z_][\w.\-]*?)(\+?)=(.*)$", re.DOTALL)
_REMOVAL = re.compile(r"^~([A-Za-z_][\w.\-]*)$")
_WORDS = {"True": True, "False": False, "null": None, "None": None}


@dataclass(frozen=True)
class Override:
    """One setting given on the command line; `text` is a list where several words followed a flag.

    `adds`: the value joins the list that the field holds.
    """

    key: str
    text: str | list[str]
    adds: bool = False


@dataclass
class CommandLine:
    """What a command line asks for."""

    config_path: str | None = None
    overrides: list[Override] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def parse_command_line(argv: Sequence[str], knows: Callable[[str], object] = path_of) -> CommandLine:
    """Take apart `[FILE] [--config FILE] [key=value …] [key+=value …] [~key …] [--key value …] [--override …]`.

    `knows` tells the keys that end the words of a flag before them.
    """
    parsed = CommandLine()
    words = list(argv)
    while words:
        word = words.pop(0)
        if word == "--override":
            continue
        if word.startswith("--"):
            _flag(parsed, word[2:], words, knows)
        elif found := _KEY_VALUE.match(word):
            parsed.overrides.append(Override(found[1], found[3], adds=bool(found[2])))
        elif found := _REMOVAL.match(word):
            parsed.overrides.append(Override(found[1], "null"))
        else:
            _file(parsed, word)
    return parsed


def _flag(parsed: CommandLine, flag: str, words: list[str], knows: Callable[[str], object]) -> None:
    key, has_value, text = flag.partition("=")
    if key == "config":
        values = [text] if has_value else words[:1] if words and not words[0].startswith("--") else []
        del words[: 0 if has_value else len(values)]
        if values:
            _file(parsed, values[0])
        else:
            parsed.problems.append(Problem("--config", "expected one file, or the name of a config"))
        return
    may_be_text = takes_only_text(annotation_of(path_of(key) or ""))
    values = [text] if has_value else _following(words, may_be_text, knows)
    value = "true" if not values else values[0] if len(values) == 1 else values
    parsed.overrides.append(Override(key.replace("-", "_"), value))


def _following(words: list[str], may_be_text: bool, knows: Callable[[str], object]) -> list[str]:
    """Take the words that belong to a flag: all up to the next flag or the next `key=value` of a known key."""
    taken: list[str] = []
    while words and not words[0].startswith("--") and not _REMOVAL.match(words[0]):
        setting = _KEY_VALUE.match(words[0])
        if setting and knows(setting[1]) and (taken or not may_be_text):
            break
        taken.append(words.pop(0))
    return taken


def _file(parsed: CommandLine, path: str) -> None:
    if parsed.config_path is None:
        parsed.config_path = path
    else:
        expected = f"one configuration file is read, and '{parsed.config_path}' was given already"
        hint = "Settings are written key=value or --key value."
        parsed.problems.append(Problem(path, expected, path, "command line", hint))


def parse_value(text: str | list[str], path: str | None) -> Any:
    """Read a value from the command line: JSON where it is JSON, True/False/null also in Python's words, else text."""
    if isinstance(text, list):
        return [parse_value(item, None) for item in text]
    if text not in _WORDS and path is not None and takes_only_text(annotation_of(path)):
        return text
    try:
        return json.loads(text, parse_constant=lambda constant: constant)
    except (ValueError, RecursionError):
        return _WORDS.get(text, text)


def annotation_of(path: str) -> Any:
    """Return the type of the field at a path; None where it is no field, but a place inside of one."""
    section, _, name = path.partition(".")
    fields = sections()[section].model_fields if section in sections() else TuningConfig.model_fields
    found = fields.get(name or section)
    return found.annotation if found is not None else None
