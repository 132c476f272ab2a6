"""Turn a document into a frozen, typed `TuningConfig`, or into one error that lists every problem."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from tuning.config.entries import entry_problems, kind_of_entries
from tuning.config.hf_fields import sft_config_fields
from tuning.config.ir import DEFAULT, IR, leaves, merge_patch, nested
from tuning.config.locations import located
from tuning.config.names import MEANT_VALUES, field_paths
from tuning.config.rules import RULES
from tuning.config.schema import TuningConfig, sections
from tuning.config.section import Section
from tuning.config.types import choices, describe_field
from tuning.errors import ConfigError, Problem
from tuning.registry import did_you_mean

Check = Callable[[TuningConfig], Iterable[Problem]]

_DECIDED_BY_ROWS = frozenset({"assistant_only_loss"})
"""Fields that follow from the rows where nobody decides them: TRL's default written down would decide another thing."""


def build_config(
    ir: IR,
    checks: Sequence[Check] = (),
    problems: Sequence[Problem] = (),
    rules: Sequence[Check] = RULES,
    last: Sequence[Check] = (),
) -> TuningConfig:
    """Check a document and freeze it.

    `checks` look at what the schema cannot: files, installed packages. `problems` were found while it was read. `rules`
    are those that a document of a whole run follows. `last` take long, and are asked only where nothing else is wrong.

    Raises:
        ConfigError: with every problem that was found.
    """
    config, wrong = _validate(_known(ir.values))
    found = [*problems, *(problem for path in wrong for problem in _type_problems(path, ir))]
    for check in (*rules, *checks):
        found += [_with_source(problem, ir) for problem in check(config) if problem.path not in wrong]
    if not found:
        found = [_with_source(problem, ir) for check in last for problem in check(config)]
    if found:
        raise ConfigError(located(found))
    return config


def with_checked_values(ir: IR, config: TuningConfig) -> IR:
    """Replace each value by the one it was read as (`"1e-06"` by 1e-06), so that actions see checked types."""
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for path in field_paths().values():
        origins = {leaf: origin for leaf, origin in ir.sources.items() if leaf == path or leaf.startswith(f"{path}.")}
        if origins:
            values = merge_patch(values, nested(path, _value_at(config, path)))
            first = next(iter(origins.values()))
            sources |= {leaf: origins.get(leaf, first) for leaf, _ in leaves(nested(path, _value_at(config, path)))}
    return IR(values, sources)


def complete(ir: IR, config: TuningConfig) -> IR:
    """Add every undecided field with the default it will have, so that each value has exactly one source."""
    defaults: dict[str, Any] = {}
    for name, path in field_paths().items():
        if not ir.is_set_by_user(path) and ir.get(path) is None:
            defaults[path] = _default(name, path, config)
    values, sources = dict(ir.values), dict(ir.sources)
    for path, value in defaults.items():
        section, _, name = path.rpartition(".")
        if section:
            values[section] = {**values.get(section, {}), name: value}
        else:
            values[name] = value
        sources |= {leaf: DEFAULT for leaf, _ in leaves(nested(path, value))}
    return IR(values, sources)


def _default(name: str, path: str, config: TuningConfig) -> Any:
    """Return the default of a field: ours, or for a field of `SFTConfig` the one that TRL writes in its source."""
    value = _value_at(config, path)
    is_theirs = path.startswith("training.") and name not in _DECIDED_BY_ROWS
    hugging_face = sft_config_fields().get(name) if is_theirs else None
    return hugging_face.default if value is None and hugging_face is not None else value


def _value_at(config: TuningConfig, path: str) -> Any:
    node: Any = config
    for name in path.split("."):
        node = getattr(node, name)
    if isinstance(node, list):  # a document holds plain values
        return [
            item.model_dump(mode="json", exclude_unset=True) if isinstance(item, Section) else item for item in node
        ]
    return node


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out keys that no section declares: actions may add them for other adapters.

    Each section is named, because a section that is left out would be checked by a validator of its own, which has to
    be built first.
    """
    known: dict[str, Any] = {name: {} for name in sections()}
    for key, value in values.items():
        if key in sections() and isinstance(value, Mapping):
            known[key] = {name: item for name, item in value.items() if name in sections()[key].model_fields}
        elif key in TuningConfig.model_fields:
            known[key] = value
    return known


def _validate(values: dict[str, Any]) -> tuple[TuningConfig, list[str]]:
    """Check the types; return what is right, and the paths of the fields that are not."""
    try:
        return TuningConfig.model_validate(values), []
    except ValidationError as error:
        wrong = list(dict.fromkeys(_field_path(item["loc"]) for item in error.errors()))
        for path in wrong:
            values = merge_patch(values, nested(path, None))
        return TuningConfig.model_validate(values), wrong


def _field_path(location: tuple[Any, ...]) -> str:
    depth = 2 if location[0] in sections() else 1
    return ".".join(str(part) for part in location[:depth])


def _type_problems(path: str, ir: IR) -> Iterator[Problem]:
    section, _, name = path.partition(".")
    field = (sections()[section] if name else TuningConfig).model_fields[name or section]
    value, names = ir.get(path), choices(field.annotation)
    if isinstance(value, list) and (kind := kind_of_entries(field.annotation)) is not None:
        yield from entry_problems(kind, path, value, ir.sources.get(path))
        return
    hint = _hint(path, value, names) if names and isinstance(value, str) else None
    yield _with_source(Problem(path, f"expected {describe_field(field)}", value, hint=hint), ir)


def _hint(path: str, value: str, names: Sequence[str]) -> str | None:
    if (meant := MEANT_VALUES.get(path, {}).get(value.lower())) is not None:
        return meant
    hint = did_you_mean(value, list(names))
    return hint if hint.startswith("Did") else None


def _with_source(problem: Problem, ir: IR) -> Problem:
    """Add where the value came from, and the value itself."""
    for leaf, origin in ir.sources.items():
        if leaf == problem.path or leaf.startswith(f"{problem.path}.") or problem.path.startswith(f"{leaf}["):
            value = ir.get(problem.path) if problem.value is None else problem.value
            return dataclasses.replace(problem, source=origin, value=value)
    return problem
