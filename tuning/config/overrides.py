"""Settings of a command line, one after the other, on top of what files and recipes say."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tuning.config.command_line import Override, annotation_of, parse_value
from tuning.config.ir import IR
from tuning.config.names import Setting, field_paths, path_of, settings
from tuning.config.schema import sections
from tuning.config.types import takes_list
from tuning.errors import Problem

COMMAND_LINE = "command line"


class Overrides:
    """What the fields of a command line are in the end: of one key given twice, in any spelling, the last counts.

    `ir` is what they stand on: the lists that are added to, and the sections that are removed.
    """

    def __init__(self, overrides: Iterable[Override], ir: IR) -> None:
        self.ir = ir
        self.settings: dict[str, Setting] = {}
        self.problems: list[Problem] = []
        for override in overrides:
            for setting in self._resolved(override):
                self._put(self._in_list(self._added(setting) if override.adds else setting))

    def _resolved(self, override: Override) -> Iterator[Setting]:
        value = parse_value(override.text, path_of(override.key))
        if override.key in sections() and value is None:
            inside = (path for path in field_paths().values() if path.startswith(f"{override.key}."))
            yield from (Setting(path, path, None) for path in inside if self._value(path) is not None)
        else:
            yield from settings({override.key: value})

    def _put(self, setting: Setting) -> None:
        key = setting.path or setting.written
        if not isinstance(setting.value, Mapping):  # an object is merged with what it holds already
            self.settings = {path: each for path, each in self.settings.items() if not path.startswith(f"{key}.")}
        self.settings[key] = setting

    def _value(self, path: str) -> Any:
        return self.settings[path].value if path in self.settings else self.ir.get(path)

    def _added(self, setting: Setting) -> Setting:
        """Add to the list that a field holds; a text that stands for a list is read as one."""
        if setting.path is None:
            return setting
        annotation, given = annotation_of(setting.path), self._value(setting.path)
        given = _as_list(annotation, given) if isinstance(given, str) else given
        if takes_list(annotation) and (given is None or isinstance(given, list)):
            more = setting.value if isinstance(setting.value, list) else [setting.value]
            return Setting(setting.written, setting.path, [*(given or []), *more])
        hint = f"Replace it: {setting.written}=…"
        self.problems.append(Problem(setting.written, "+= adds to a list, and this is none", given, COMMAND_LINE, hint))
        return Setting(setting.written, setting.path, given)

    def _in_list(self, setting: Setting) -> Setting:
        """Turn `datasets.0.sampling` into the list `datasets` with that place changed."""
        parts = (setting.path or "").split(".")
        for depth in range(1, len(parts)):
            path, place = ".".join(parts[:depth]), parts[depth]
            given = self._value(path)
            if isinstance(given, list) and place.isdigit():
                return Setting(setting.written, path, self._changed(given, parts[depth:], setting))
        return setting

    def _changed(self, node: Any, parts: list[str], setting: Setting) -> Any:
        """Return a copy of lists and objects with the value at a place in them replaced; null removes it."""
        if not parts:
            return setting.value
        first, rest = parts[0], parts[1:]
        if isinstance(node, list):
            if not first.isdigit() or int(first) >= len(node):
                expected = f"the list has {len(node)} items, numbered from 0"
                self.problems.append(Problem(setting.written, expected, setting.value, COMMAND_LINE))
                return node
            changed = self._changed(node[int(first)], rest, setting)
            kept = [] if changed is None else [changed]
            return [*node[: int(first)], *kept, *node[int(first) + 1 :]]
        given = dict(node) if isinstance(node, Mapping) else {}
        changed = self._changed(given.pop(first, None), rest, setting)
        return given if changed is None else {**given, first: changed}


def _as_list(annotation: Any, given: str) -> Any:
    try:
        return TypeAdapter(annotation).validate_python(given)
    except ValidationError:
        return given
