"""The lines of a configuration file that its keys stand on, looked up only where a problem is told."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tuning.config.names import path_of
from tuning.errors import MOST_SHOWN, Problem

_FILE = "file "
_VALUES = "values."
"""What the keys of a run's own `config.json` stand under."""
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]')


def located(problems: Iterable[Problem]) -> list[Problem]:
    """Add to each problem that comes from a file, and is told, the line that its key stands on."""
    found = list(problems)
    files = {problem.source for problem in found if problem.source and problem.source.startswith(_FILE)}
    lines = {source: _Lines(Path(source.removeprefix(_FILE))) for source in files}
    told = (_with_line(each, lines[each.source]) if each.source in lines else each for each in found[:MOST_SHOWN])
    return [*told, *found[MOST_SHOWN:]]


def _with_line(problem: Problem, lines: _Lines) -> Problem:
    line = lines.of(problem.path)
    return problem if line is None else dataclasses.replace(problem, source=f"{problem.source}, line {line}")


class _Lines:
    """The lines of one file's keys."""

    def __init__(self, file: Path) -> None:
        self.text = _text(file)
        keys = yaml_keys(self.text) if file.suffix in (".yaml", ".yml") else json_keys(self.text)
        written = ((key.removeprefix(_VALUES), line) for key, line in keys)
        self.keys = [(key, path_of(key), line) for key, line in written]

    def of(self, path: str) -> int | None:
        """Return the line of a key, as it is written or as the path of its field; of two, the last one's."""
        exact = [line for key, field, line in self.keys if path in (key, field)]
        if exact:
            return exact[-1]
        around = [(len(key), line) for key, field, line in self.keys if _holds(field, path)]
        return max(around)[1] if around else self._line_of_word(path.rpartition(".")[2])

    def _line_of_word(self, word: str) -> int | None:
        found = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", self.text)
        return self.text.count("\n", 0, found.start()) + 1 if found else None


def yaml_keys(text: str) -> list[tuple[str, int]]:
    """List the dotted keys of a YAML document with their lines, from 1; nothing where it cannot be read."""
    import yaml

    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return []
    return list(_yaml_keys(node, "")) if node is not None else []


def _yaml_keys(node: Any, prefix: str) -> Iterator[tuple[str, int]]:
    if node.id == "mapping":
        for key, value in node.value:
            yield f"{prefix}{key.value}", key.start_mark.line + 1
            yield from _yaml_keys(value, f"{prefix}{key.value}.")
    elif node.id == "sequence":
        for index, item in enumerate(node.value):
            yield from _yaml_keys(item, f"{prefix}{index}.")


def json_keys(text: str) -> list[tuple[str, int]]:
    """List the dotted keys of a JSON document with their lines, from 1; what cannot be read has none."""
    found: list[tuple[str, int]] = []
    open_parts: list[list[Any]] = []  # of each object and list around: its bracket, and the key or index reached in it
    text_before, line, position = "", 1, 0
    for token in _TOKEN.finditer(text):
        line, position = line + text.count("\n", position, token.start()), token.start()
        word = token[0]
        if word in "{[":
            open_parts.append([word, 0 if word == "[" else ""])
        elif word in "}]" and open_parts:
            open_parts.pop()
        elif word == "," and open_parts and open_parts[-1][0] == "[":
            open_parts[-1][1] = int(open_parts[-1][1]) + 1
        elif word == ":" and open_parts and text_before.startswith('"'):
            open_parts[-1][1] = _unquoted(text_before)
            found.append((".".join(str(part[1]) for part in open_parts), line))
        text_before = word
    return found


def _unquoted(text: str) -> str:
    try:
        return str(json.loads(text))
    except ValueError:
        return text[1:-1]


def _holds(around: str | None, path: str) -> bool:
    return around is not None and path.startswith((f"{around}.", f"{around}["))


def _text(file: Path) -> str:
    """Read the file once more; what is no file, such as a pipe, can be read only once."""
    try:
        return file.read_text(encoding="utf-8-sig") if file.is_file() else ""
    except (OSError, UnicodeDecodeError):
        return ""
