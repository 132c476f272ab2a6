"""Read a file of accelerate that a document names, and put its settings below the document's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tuning.config.ir import IR
from tuning.config.locations import located
from tuning.config.strict_yaml import load_yaml
from tuning.config.text_files import read_text
from tuning.errors import ConfigError, Problem, reason_of

_FILE = "accelerate.config_file"


def with_accelerate_file(ir: IR, problems: Sequence[Problem] = ()) -> IR:
    """Put the settings of the file that a document names below the document's own, and forget the file's name.

    Raises:
        ConfigError: the file cannot be read; holds `problems`, which were found before, too.
    """
    path = ir.get(_FILE)
    if path is None:
        return ir
    source = ir.sources.get(_FILE, "argument")
    try:
        if not isinstance(path, str):
            raise ConfigError([Problem(_FILE, "expected the name of a file", path, source)])
        settings = read_accelerate_file(path, source)
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from error
    document = ir.without(_FILE)
    added = _not_in(document.get("accelerate") or {}, settings)
    return document.merge({"accelerate": added}, f"file {path}") if added else document


def _not_in(given: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of which `given` says nothing, without nulls."""
    added: dict[str, Any] = {}
    for key, value in settings.items():
        said = given.get(key)
        if isinstance(value, Mapping) and value and isinstance(said, Mapping | None):
            if inside := _not_in(said or {}, value):
                added[key] = inside
        elif said is None and value is not None:
            added[key] = value
    return added


def read_accelerate_file(path: str, source: str) -> Mapping[str, Any]:
    """Read the YAML or JSON that `accelerate config` writes; `source` is where its name stands.

    Raises:
        ConfigError: the file cannot be read, or holds something else.
    """
    try:
        document, problems = load_yaml(read_text(path))
    except OSError as error:
        raise ConfigError([Problem(_FILE, f"cannot be read: {error.strerror or error}", path, source)]) from error
    except ValueError as error:
        raise ConfigError([Problem(path, f"the document cannot be read: {reason_of(error)}")]) from error
    if problems:
        found = (Problem(each.path, each.expected, each.value, f"file {path}") for each in problems)
        raise ConfigError(located(found))
    if not isinstance(document, Mapping):
        raise ConfigError([Problem(_FILE, "expected a file with an object of accelerate's settings", path, source)])
    return document
