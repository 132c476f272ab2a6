"""Take a command's own flags out of words that otherwise go to the trainer's parser."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from tuning.errors import UserError

NOTHING = ""
SETTINGS = "key=value …"
"""What may stand after a flag; any other text names the one word that must."""

_SEPARATOR = "--override"
"""A word that the trainer's parser passes over: it stands where a flag was, so that its neighbours stay apart."""
_SETTING = re.compile(r"^[A-Za-z_][\w.\-]*=")


def take_flags(argv: Sequence[str], flags: Mapping[str, str]) -> tuple[list[str], dict[str, Any]]:
    """Return the words that are left, and what was given: True, one word, or a list of settings.

    `flags` maps each flag to what stands after it. Flags are taken letter by letter: `--output_dir`, with an
    underscore, is the trainer's run folder and not `--output-dir`.

    Raises:
        UserError: a flag has something else after it.
    """
    left, given, words = [], dict[str, Any](), list(argv)
    while words:
        word = words.pop(0)
        name, has_value, text = word.partition("=")
        if name not in flags:
            left.append(word)
            continue
        left.append(_SEPARATOR)
        if flags[name] == SETTINGS:
            given[name] = [*given.get(name, []), *_settings(name, [text] if has_value else [], words)]
        elif flags[name] == NOTHING:
            given[name] = _nothing(name, has_value)
        else:
            given[name] = _one(name, flags[name], [text] if has_value else words)
    return left, given


def _settings(name: str, given: list[str], words: list[str]) -> list[str]:
    while words and _SETTING.match(words[0]):
        given.append(words.pop(0))
    if not given:
        raise UserError(f"{name}: expected key=value after it")
    return given


def _nothing(name: str, has_value: str) -> bool:
    if has_value:
        raise UserError(f"{name}: takes no value")
    return True


def _one(name: str, expected: str, words: list[str]) -> str:
    if not words or not words[0] or words[0].startswith("--"):
        raise UserError(f"{name}: expected {expected} after it")
    return words.pop(0)
