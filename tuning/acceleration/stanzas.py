"""Take a configuration of plugins apart: which stanza stands at which path, and what is no stanza."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from tuning.config.section import Section
from tuning.config.types import describe_field
from tuning.errors import Problem
from tuning.registry import did_you_mean


@dataclass
class Stanzas:
    """The stanzas at registered paths; what is unknown, each path with the name that was meant, if one was.

    A stanza that is null or true has no settings; one that is false turns its plugin off, and is not in `given`.
    """

    given: dict[str, dict[str, Any]] = field(default_factory=dict)
    unknown: dict[str, str | None] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)


def parted(plugins: Mapping[str, Any], known: Collection[str]) -> Stanzas:
    """Part a configuration into the stanzas at the known paths."""
    found = Stanzas()
    _walk(plugins, "", frozenset(known), found)
    return found


def setting_problems(kind: type[Section], path: str, stanza: Mapping[str, Any]) -> Iterator[Problem]:
    """Name the keys of a stanza that its plugin does not have, and the values of a wrong type."""
    try:
        kind.model_validate(dict(stanza))
    except ValidationError as error:
        for item in error.errors():
            name = str(item["loc"][0]) if item["loc"] else ""
            where = ".".join([path, *(str(part) for part in item["loc"])])
            if item["type"] == "extra_forbidden":
                hint = did_you_mean(name, list(kind.model_fields)) if kind.model_fields else None
                yield Problem(where, "the plugin has no such setting", item["input"], hint=hint)
            elif name in kind.model_fields and item["type"] != "missing":
                yield Problem(where, f"expected {describe_field(kind.model_fields[name])}", item["input"])
            else:
                yield Problem(where, str(item["msg"]).removeprefix("Value error, "), item["input"])


def _walk(node: Mapping[str, Any], prefix: str, known: frozenset[str], found: Stanzas) -> None:
    for key, value in node.items():
        path = f"{prefix}{key}"
        if path in known:
            _stanza(path, value, known, found)
        elif not _leads_on(path, known):
            found.unknown[path] = _meant(path, prefix, known)
        elif isinstance(value, Mapping):
            _walk(value, f"{path}.", known, found)
        elif value is not None and value is not False:
            found.problems.append(Problem(path, f"expected an object with {_below(path, known)}", value))


def _stanza(path: str, value: Any, known: frozenset[str], found: Stanzas) -> None:
    """Take the stanza at a path; keys that are the paths of other stanzas are theirs."""
    if value is None or value is True:
        found.given[path] = {}
    elif isinstance(value, Mapping):
        others = {key: each for key, each in value.items() if _is_or_leads_on(f"{path}.{key}", known)}
        own = {str(key): each for key, each in value.items() if key not in others}
        if own or not others:
            found.given[path] = own
        _walk(others, f"{path}.", known, found)
    elif value is not False:
        found.problems.append(Problem(path, "expected an object of settings, or true or false", value))


def _leads_on(path: str, known: Collection[str]) -> bool:
    return any(each.startswith(f"{path}.") for each in known)


def _is_or_leads_on(path: str, known: Collection[str]) -> bool:
    return path in known or _leads_on(path, known)


def _below(path: str, known: Collection[str]) -> str:
    return " or ".join(sorted({each[len(path) + 1 :].partition(".")[0] for each in known if each.startswith(path)}))


def _meant(path: str, prefix: str, known: Collection[str]) -> str | None:
    """Say which registered path a misspelt or misplaced one stands for; None where none is like it."""
    name = path[len(prefix) :]
    same = sorted(each for each in known if each.rpartition(".")[2] == name)
    if same:
        return "Did you mean " + " or ".join(f"'{each}'" for each in same) + "?"
    beside = sorted({each[len(prefix) :].partition(".")[0] for each in known if each.startswith(prefix)})
    hint = did_you_mean(name, beside) if beside else ""
    return hint if hint.startswith("Did") else None
