"""A recipe's own params: a dataclass or a pydantic model, filled from a file and a command line."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from tuning.config.command_line import CommandLine, parse_command_line, parse_value
from tuning.config.ir import IR, nested
from tuning.config.loading import Loaded, path_of_config, read_document
from tuning.config.locations import located
from tuning.config.overrides import COMMAND_LINE
from tuning.config.types import takes_only_text
from tuning.errors import ConfigError, Problem, UserError
from tuning.registry import did_you_mean


def load_params(kind: type, argv: Sequence[str], overlay: Mapping[str, Any], recipe: str) -> Any:
    """Make the params of a recipe: command line over file over the recipe's overlay over the class's defaults.

    Raises:
        ConfigError: with every problem that was found.
        UserError: a field of the class has no default.
    """
    _check_defaults(kind, recipe)
    command_line = parse_command_line(argv, lambda key: key.partition(".")[0] in fields_of(kind))
    loaded = Loaded(IR.of(overlay, f"recipe {recipe}"), problems=list(command_line.problems))
    if command_line.config_path is not None:
        path = path_of_config(loaded, command_line.config_path, recipe)
        loaded.ir = loaded.ir.merge(read_document(loaded, path, f"file {path}"), f"file {path}")
    loaded.ir = _overridden(loaded, command_line, kind)
    unknown = list(_unknown(kind, loaded.ir))
    problems = [*loaded.problems, *unknown]
    if unknown:  # what is left can still be wrong, too
        values = {name: value for name, value in loaded.ir.values.items() if name in fields_of(kind)}
        raise ConfigError(located([*problems, *_checked(kind, values, loaded.ir)[1]]))
    params, wrong = _checked(kind, loaded.ir.values, loaded.ir)
    if problems or wrong:
        raise ConfigError(located([*problems, *wrong]))
    return params


def fields_of(kind: Any) -> dict[str, Any]:
    """Map the names of a params class's fields to their types; empty where it is no such class."""
    if not _has_fields(kind):
        return {}
    if issubclass(kind, BaseModel):
        return {name: found.annotation for name, found in kind.model_fields.items()}
    hints = typing.get_type_hints(kind, include_extras=True)
    return {found.name: hints[found.name] for found in dataclasses.fields(kind) if found.init}


def _has_fields(kind: Any) -> bool:
    return isinstance(kind, type) and (issubclass(kind, BaseModel) or dataclasses.is_dataclass(kind))


def _check_defaults(kind: Any, recipe: str) -> None:
    if not _has_fields(kind):
        raise UserError(f"recipe {recipe}: params is {kind!r}; expected a dataclass or a pydantic model")
    if issubclass(kind, BaseModel):
        missing = [name for name, found in kind.model_fields.items() if found.is_required()]
    else:
        none = dataclasses.MISSING
        missing = [
            found.name
            for found in dataclasses.fields(kind)
            if found.init and found.default is none and found.default_factory is none
        ]
    if missing:
        raise UserError(
            f"recipe {recipe}: every field of {kind.__name__} needs a default; {', '.join(missing)} has none"
        )


def _overridden(loaded: Loaded, command_line: CommandLine, kind: type) -> IR:
    ir = loaded.ir
    for override in command_line.overrides:
        value = _value(override.text, _annotation(kind, override.key))
        given = ir.get(override.key)
        if override.adds and (given is None or isinstance(given, list)):
            value = [*(given or []), *(value if isinstance(value, list) else [value])]
        elif override.adds:
            loaded.problems.append(Problem(override.key, "+= adds to a list, and this is none", given, COMMAND_LINE))
        ir = ir.without(override.key) if value is None else ir.merge(nested(override.key, value), COMMAND_LINE)
    return ir


def _value(text: str | list[str], annotation: Any) -> Any:
    if isinstance(text, str) and text not in ("null", "None") and takes_only_text(annotation):
        return text
    return parse_value(text, None)


def _annotation(kind: Any, key: str) -> Any:
    for name in key.split("."):
        kind = fields_of(kind).get(name)
    return kind


def _unknown(kind: Any, ir: IR) -> Iterator[Problem]:
    for path, names in _unknown_keys(kind, ir.values, ""):
        hint = did_you_mean(path.rpartition(".")[2], names)
        source = next((origin for leaf, origin in ir.sources.items() if f"{leaf}.".startswith(f"{path}.")), None)
        yield Problem(path, "there is no such field", ir.get(path), source, hint)


def _unknown_keys(kind: Any, values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, list[str]]]:
    known = fields_of(kind)
    for key, value in values.items():
        if key not in known:
            yield f"{prefix}{key}", list(known)
        elif isinstance(value, Mapping) and _has_fields(known[key]):
            yield from _unknown_keys(known[key], value, f"{prefix}{key}.")


def _checked(kind: type, values: Mapping[str, Any], ir: IR) -> tuple[Any, list[Problem]]:
    """Make the params, or say what its types, its validators and its `__post_init__` refuse."""
    try:
        return TypeAdapter(kind).validate_python(dict(values)), []
    except ValidationError as error:
        return None, [_problem(kind, item, ir) for item in error.errors()]
    except (TypeError, ValueError) as error:  # of __post_init__; pydantic passes a TypeError on
        return None, [Problem(kind.__name__, str(error) or type(error).__name__)]


def _problem(kind: type, item: Any, ir: IR) -> Problem:
    path = ".".join(str(part) for part in item["loc"])
    expected = str(item["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
    source = next((origin for leaf, origin in ir.sources.items() if path and f"{path}.".startswith(f"{leaf}.")), None)
    return Problem(path or kind.__name__, expected, item["input"] if source else None, source)
