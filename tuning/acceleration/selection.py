"""Choose the plugins that a configuration turns on, and tell everything that is wrong with it; torch is not needed."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tuning.acceleration.plugin import AccelerationPlugin
from tuning.acceleration.plugins import Registration, registrations, version_of
from tuning.acceleration.rules import Active, missing_packages, violations
from tuning.acceleration.stanzas import parted, setting_problems
from tuning.config.plugin_file import TOP
from tuning.errors import Problem


@dataclass
class Selection:
    """The plugins that act, in the order in which they do; what is wrong, and what is passed over."""

    active: list[Active] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    strict: bool = False

    def pass_over(self, path: str, reason: str) -> None:
        """Note a stanza that changes nothing: a notice, or a problem under `strict`."""
        if self.strict:
            hint = "strict_plugins=false passes it over."
            self.problems.append(Problem(path, reason, hint=hint))
        else:
            self.notices.append(f"{path} is passed over: {reason}")


def select(
    plugins: Mapping[str, Any],
    strict: bool = False,
    device: str | None = None,
    source: str | None = None,
    is_complete: bool = True,
) -> Selection:
    """Choose the plugins for a configuration.

    `strict`: what cannot act is a problem, not a notice. `device`: type of the device, as far as it is known. `source`:
    where the configuration comes from. `is_complete` False: stanzas that a plugin requires may still be added.
    """
    found, failures = Selection(strict=strict), []
    if not plugins:
        return found
    registered = list(registrations(failures))
    found.notices += failures
    names = {path: each.name for each in registered for path in each.paths}
    stanzas = parted(plugins, names)
    found.problems += stanzas.problems
    for path, meant in stanzas.unknown.items():
        if meant is not None:
            found.problems.append(Problem(path, "no acceleration plugin is registered under this path", hint=meant))
        else:
            found.pass_over(path, "no installed plugin is registered under this path")
    used: set[str] = set()
    for each in registered:
        if each.is_met_by(stanzas.given):
            used |= _activate(found, each, {path: stanzas.given[path] for path in each.paths if path in stanzas.given})
    for path in sorted(stanzas.given.keys() - used):
        found.pass_over(path, _incomplete(path, registered, stanzas.given))
    found.problems += violations(found.active, device, names, is_complete)
    found.problems = [_under_top(problem, plugins, source) for problem in found.problems]
    return found


def _activate(found: Selection, registered: Registration, stanzas: Mapping[str, dict[str, Any]]) -> set[str]:
    """Add a plugin to those that act, where it can; returns the paths whose stanzas are told of."""
    first = next(iter(stanzas))
    try:
        kind = registered.load()
    except Exception as error:  # a plugin's own module may fail in any way
        problem = f"the plugin {registered.name} cannot be imported: {type(error).__name__}: {error}"
        found.problems.append(Problem(first, problem))
        return set(stanzas)
    wrong = [each for path, stanza in stanzas.items() for each in _wrong(kind, path, stanza)]
    missing = missing_packages(kind)
    found.problems += wrong
    if missing:
        found.pass_over(first, f"{registered.name} needs {', '.join(missing)}, which is not installed")
    elif not wrong:
        typed = {path: _typed(kind, stanza) for path, stanza in stanzas.items()}
        found.active.append(Active(registered.name, tuple(stanzas), version_of(kind), kind(typed)))
    return set(stanzas)


def _wrong(kind: type[AccelerationPlugin], path: str, stanza: Mapping[str, Any]) -> Iterable[Problem]:
    return () if kind.settings is None else setting_problems(kind.settings, path, stanza)


def _typed(kind: type[AccelerationPlugin], stanza: dict[str, Any]) -> dict[str, Any]:
    """Read values as the settings declare them; what was not given is not added."""
    return stanza if kind.settings is None else kind.settings.model_validate(stanza).model_dump(exclude_unset=True)


def _incomplete(path: str, registered: Iterable[Registration], given: Collection[str]) -> str:
    """Say what a plugin that has one of its stanzas lacks."""
    for each in registered:
        if path in each.paths:
            lacking = [one for one in each.and_paths if one not in given] or [" or ".join(each.or_paths)]
            return f"{each.name} acts only with {', '.join(lacking)} beside it"
    return "no plugin takes it"


def _under_top(problem: Problem, plugins: Mapping[str, Any], source: str | None) -> Problem:
    value = problem.value
    if value is None:
        value = _value_at(plugins, problem.path)
    return dataclasses.replace(problem, path=f"{TOP}.{problem.path}", value=value, source=source)


def _value_at(node: Any, path: str) -> Any:
    for key in path.split("."):
        node = node.get(key) if isinstance(node, Mapping) else None
    return node
