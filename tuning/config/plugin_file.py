"""Read a file of acceleration plugins, as fms-acceleration writes it, and put it where a run keeps its plugins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from tuning.config.ir import IR, leaves, nested
from tuning.config.locations import located
from tuning.config.strict_yaml import load_yaml
from tuning.config.text_files import read_text
from tuning.config.types import JsonObject
from tuning.errors import ConfigError, Problem, reason_of

TOP = "plugins"
"""The one key at the top of such a file."""
_FILE = "acceleration.acceleration_framework_config_file"


def with_plugins(ir: IR, problems: Sequence[Problem] = ()) -> IR:
    """Put the plugins of the file that a document names below the document's own, and forget the file's name.

    Raises:
        ConfigError: the file cannot be read; holds `problems`, which were found before, too.
    """
    path, own = ir.get(_FILE), _own_plugins(ir)
    if not isinstance(path, str) or own is None:
        return ir
    try:
        plugins = with_empty_stanzas(read_plugin_file(path))
    except ConfigError as error:
        raise ConfigError([*problems, *error.problems]) from error
    sources = {leaf: origin for leaf, origin in ir.sources.items() if leaf.startswith(f"acceleration.{TOP}")}
    merged = ir.without(_FILE).without(f"acceleration.{TOP}")
    merged = merged.merge({"acceleration": {TOP: plugins}}, f"file {path}")
    for leaf, value in leaves(nested(f"acceleration.{TOP}", own)):
        merged = merged.merge(nested(leaf, value), sources.get(leaf) or next(iter(sources.values()), "argument"))
    return merged


def read_plugin_file(path: str) -> dict[str, Any]:
    """Read the plugins that a YAML or JSON file configures.

    Raises:
        ConfigError: the file cannot be read, or holds something else.
    """
    source = f"file {path}"
    try:
        document, problems = load_yaml(read_text(path))
    except OSError as error:
        raise ConfigError([Problem(_FILE, f"cannot be read: {error.strerror or error}", path, "its name")]) from error
    except ValueError as error:
        raise ConfigError([Problem(path, f"the document cannot be read: {reason_of(error)}")]) from error
    if problems:
        raise ConfigError(located(Problem(each.path, each.expected, each.value, source) for each in problems))
    return plugins_of(document, source)


def plugins_of(document: Any, source: str) -> dict[str, Any]:
    """Return what stands under the key `plugins`, the only one at the top.

    Raises:
        ConfigError: the document has another form.
    """
    if document is None or document == {}:
        return {}
    if not isinstance(document, Mapping):
        raise ConfigError([Problem(TOP, f"expected an object with the key {TOP}", document, source)])
    hint = f"The stanzas of plugins stand under {TOP}."
    others = [Problem(str(key), "there is no such key", document[key], source, hint) for key in document if key != TOP]
    if others:
        raise ConfigError(located(others))
    plugins = document[TOP]
    if plugins is not None and not isinstance(plugins, Mapping):
        raise ConfigError(located([Problem(TOP, "expected an object of stanzas", plugins, source)]))
    return dict(plugins or {})


def with_empty_stanzas(node: Any) -> Any:
    """Write `{}` for a stanza that holds nothing, because in a run's own document null would take it out.

    Where other values stand beside it, null is a setting that is left open.
    """
    if not isinstance(node, Mapping):
        return node
    is_stanza = any(value is not None and not isinstance(value, Mapping) for value in node.values())
    return {
        key: {} if value is None and not is_stanza else with_empty_stanzas(value)
        for key, value in node.items()
        if value is not None or not is_stanza
    }


def _own_plugins(ir: IR) -> dict[str, Any] | None:
    """Return the document's own stanzas; None where they are of no type that can be merged."""
    own = ir.get(f"acceleration.{TOP}")
    try:
        return {} if own is None else TypeAdapter(JsonObject).validate_python(own)
    except ValidationError:
        return None
