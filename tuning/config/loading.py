"""Read a configuration from a file, the environment and the command line into one `IR`."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuning.config.command_line import parse_command_line
from tuning.config.ir import IR, merge_patch, nested, without_redacted
from tuning.config.locations import located
from tuning.config.names import RETIRED, Setting, known_names, settings, suggestion
from tuning.config.overrides import COMMAND_LINE, Overrides
from tuning.config.schema import sections
from tuning.config.shipped import find_config
from tuning.config.strict_json import load_json
from tuning.config.strict_yaml import load_yaml
from tuning.config.text_files import read_text
from tuning.errors import MOST_SHOWN, ConfigError, Problem, UserError, reason_of, shown

CONFIG_PATH_VARIABLE = "SFT_TRAINER_CONFIG_JSON_PATH"
CONFIG_TEXT_VARIABLE = "SFT_TRAINER_CONFIG_JSON_ENV_VAR"

_MOST_LEVELS = 100
"""More than any setting needs, and few enough for every part of Python that walks a value level by level."""
_LONGEST_KEY = 100

Parse = Callable[[str], tuple[Any, list[Problem]]]


@dataclass
class Loaded:
    """A document under construction: what was read, and everything that is wrong with it so far."""

    ir: IR = field(default_factory=IR)
    problems: list[Problem] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    def add(self, found: Iterable[Setting], source: str) -> None:
        """Merge settings of one source; a key written twice in it is a problem, an earlier source is replaced."""
        values: dict[str, Any] = {}
        undecided: list[str] = []
        written_as: dict[str, str] = {}
        for setting in found:
            if setting.path is None:
                self._unknown(setting, source)
            elif setting.path in written_as:
                self._twice(setting, written_as[setting.path], source)
            elif _is_too_deep(setting):
                expected = f"nested more than {_MOST_LEVELS} levels deep"
                self.problems.append(Problem(setting.written[:_LONGEST_KEY], expected))
            else:
                written_as[setting.path] = setting.written
                if setting.value is None:
                    undecided.append(setting.path)
                else:
                    values = merge_patch(values, nested(setting.path, setting.value))
        for path in undecided:
            self.ir = self.ir.without(path)
        self.ir = self.ir.merge(values, source)

    def _unknown(self, setting: Setting, source: str) -> None:
        name = setting.written.rpartition(".")[2]
        if name in RETIRED:
            self.notices.append(f"{setting.written} (from {source}) changes nothing: {RETIRED[name]}")
            return
        if name in sections():
            expected = "expected an object of the section's fields"
            self.problems.append(Problem(setting.written, expected, setting.value, source))
            return
        many = len(self.problems) >= MOST_SHOWN
        hint = "It belongs to another section." if name in known_names() else None if many else suggestion(name)
        hint = hint or "`tune run --help` lists every name."
        self.problems.append(Problem(setting.written, "there is no such field", setting.value, source, hint))

    def _twice(self, setting: Setting, first: str, source: str) -> None:
        again = f"'{first}'" if first != setting.written else "itself"
        self.problems.append(
            Problem(setting.written, f"the field was already given as {again}; give it once", setting.value, source)
        )


def load_ir(
    argv: Sequence[str] = (), environ: Mapping[str, str] | None = None, overlay: IR | None = None, recipe: str = ""
) -> Loaded:
    """Read the configuration that a command line and an environment describe.

    A file named on the command line replaces the one from the environment; `key=value` overrides win over both, and
    both win over `overlay`, the values of a recipe. A name that is no file is looked for first among the configurations
    of `recipe`.

    Raises:
        ConfigError: a document cannot be read at all; other problems are collected in what is returned.
    """
    environ = os.environ if environ is None else environ
    command_line = parse_command_line(argv)
    loaded = Loaded(overlay or IR(), problems=list(command_line.problems))
    if command_line.config_path is not None:
        path = path_of_config(loaded, command_line.config_path, recipe)
        load_file(loaded, path, f"file {path}")
    elif environ.get(CONFIG_PATH_VARIABLE):
        load_file(loaded, environ[CONFIG_PATH_VARIABLE], f"environment {CONFIG_PATH_VARIABLE}")
    elif environ.get(CONFIG_TEXT_VARIABLE):
        _load_base64(loaded, environ[CONFIG_TEXT_VARIABLE])
    overrides = Overrides(command_line.overrides, loaded.ir)
    loaded.problems += overrides.problems
    loaded.add(overrides.settings.values(), COMMAND_LINE)
    return loaded


def path_of_config(loaded: Loaded, name: str, recipe: str) -> str:
    """Return the file that a path or a name stands for.

    Raises:
        ConfigError: there is none.
    """
    try:
        return name if Path(name).exists() else str(find_config(name, recipe))
    except UserError as error:
        raise ConfigError([*loaded.problems, Problem("--config", str(error))]) from error
    except OSError as error:  # a name that no file can have
        raise ConfigError([*loaded.problems, Problem("--config", f"cannot be read: {error.strerror}")]) from error


def load_mapping(document: Mapping[str, Any], source: str = "argument") -> Loaded:
    """Read a configuration that is a mapping already, as a library call gives it."""
    loaded = Loaded()
    loaded.add(settings(_with_paths_as_text(document)), source)
    return loaded


def _with_paths_as_text(value: Any) -> Any:
    """Write `Path` objects, which Python callers have, as the text that a file would hold."""
    if isinstance(value, Mapping):
        return {key: _with_paths_as_text(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_paths_as_text(item) for item in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def load_file(loaded: Loaded, path: str, source: str) -> None:
    """Add the settings of a JSON or YAML file; the ending of its name says which.

    Raises:
        ConfigError: the file cannot be read, so that nothing more can be said of it.
    """
    loaded.add(settings(_values_of_a_run(read_document(loaded, path, source))), source)
    loaded.problems = located(loaded.problems)


def read_document(loaded: Loaded, path: str, source: str) -> dict[str, Any]:
    """Read a JSON or YAML file that holds an object; what is wrong inside is added to the problems.

    Raises:
        ConfigError: the file cannot be read, so that nothing more can be said of it.
    """
    try:
        text = read_text(path)
    except UnicodeDecodeError as error:
        raise _unreadable(loaded, path, f"the file is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise _unreadable(loaded, path, f"the configuration file cannot be read: {reason}") from error
    return _parsed(loaded, load_yaml if path.endswith((".yaml", ".yml")) else load_json, text, source)


def _load_base64(loaded: Loaded, encoded: str) -> None:
    try:
        text = base64.b64decode(encoded, validate=True).decode("utf-8")
    except (binascii.Error, ValueError) as error:
        expected = "expected base64 of a JSON document (a pickle is never read)"
        raise _unreadable(loaded, CONFIG_TEXT_VARIABLE, expected) from error
    source = f"environment {CONFIG_TEXT_VARIABLE}"
    loaded.add(settings(_values_of_a_run(_parsed(loaded, load_json, text, source))), source)


def _parsed(loaded: Loaded, parse: Parse, text: str, source: str) -> dict[str, Any]:
    try:
        document, problems = parse(text)
    except ValueError as error:
        raise _unreadable(loaded, source, f"the document cannot be read: {reason_of(error)}") from error
    found = (Problem(problem.path, problem.expected, problem.value, source) for problem in problems)
    loaded.problems += located(found)
    if not isinstance(document, dict):
        raise _unreadable(loaded, source, f"expected an object of field names and values, got {shown(document)}")
    return document


def _unreadable(loaded: Loaded, path: str, expected: str) -> ConfigError:
    return ConfigError([*loaded.problems, Problem(path, expected)])


def _values_of_a_run(document: dict[str, Any]) -> dict[str, Any]:
    """Take the values of a `config.json` that a run has written: it holds their sources beside them."""
    written_by_a_run = document.keys() == {"values", "sources"} and isinstance(document["values"], dict)
    return without_redacted(document["values"]) if written_by_a_run else document


def _is_too_deep(setting: Setting) -> bool:
    """Tell whether a value has more levels than are walked, those of its dotted path included."""
    level: list[Any] = [setting.value]
    for _ in range(max(0, _MOST_LEVELS - str(setting.path).count("."))):
        inner = (item for item in level if isinstance(item, (dict, list)) and item)
        level = [each for item in inner for each in (item.values() if isinstance(item, dict) else item)]
        if not level:
            return False
    return True
