"""The intermediate representation: nested JSON values and, for every leaf, the place that it came from."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

DEFAULT = "default"
ACTION = "action"
REDACTED = "[redacted]"
"""What stands in a run's record in the place of a secret."""


@dataclass(frozen=True)
class IR:
    """One run as a document; every change makes a new one.

    `values` holds JSON values only. `sources` maps the dotted path of each leaf to where its value came from:
    `file run.json`, `environment VAR`, `command line`, `argument`, `action NAME` or `default`. Keys that no section
    declares are kept, so that what an action adds survives up to the adapter that understands it.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Mapping[str, Any], source: str) -> IR:
        """Make a document whose every leaf comes from one source."""
        return cls().merge(values, source)

    def get(self, path: str, default: Any = None) -> Any:
        """Return the value at a dotted path, or `default` where it is missing or null."""
        node: Any = self.values
        for key in path.split("."):
            if not isinstance(node, Mapping) or key not in node:
                return default
            node = node[key]
        return default if node is None else node

    def merge(self, patch: Mapping[str, Any], source: str) -> IR:
        """Apply a JSON merge patch (RFC 7396) and note `source` for each leaf that it writes."""
        values = merge_patch(self.values, patch)
        written = {path for path, _ in leaves(patch)}
        kept = {path: origin for path, origin in self.sources.items() if not _touched(path, written)}
        new = {path: source for path, _ in leaves(values) if path not in kept}
        return IR(values, kept | new)

    def without(self, path: str) -> IR:
        """Return the document without what stands at a path, nor the objects that are empty then."""
        if self.get(path) is None:
            return self
        values = merge_patch(self.values, nested(path, None))
        while "." in path and not IR(values).get(path := path.rpartition(".")[0]):
            values = merge_patch(values, nested(path, None))
        kept = {leaf for leaf, _ in leaves(values)}
        return IR(values, {leaf: origin for leaf, origin in self.sources.items() if leaf in kept})

    def is_set_by_user(self, path: str) -> bool:
        """Tell whether the user gave the value at `path`, or any part of it."""
        return any(
            not origin.startswith((ACTION, DEFAULT))
            for leaf, origin in self.sources.items()
            if leaf == path or leaf.startswith(f"{path}.") or path.startswith(f"{leaf}.")
        )

    def json_patch(self, other: IR) -> list[dict[str, Any]]:
        """List the JSON patch operations (RFC 6902) that turn this document's values into the other's."""
        import jsonpatch

        return list(jsonpatch.make_patch(self.values, other.values))


def merge_patch(target: Any, patch: Any) -> Any:
    """Apply a JSON merge patch (RFC 7396): objects merge, null removes, anything else replaces.

    Neither document is changed; what the patch does not touch is shared with the result.
    """
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def without_redacted(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out secrets, which a run's record does not hold: they are undecided until they are given again."""
    return {
        key: without_redacted(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
        if value != REDACTED
    }


def leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Walk the dotted path and the value of every leaf; an empty object and a list are leaves."""
    for key, value in node.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{path}.")
        else:
            yield path, value


def nested(path: str, value: Any) -> dict[str, Any]:
    """Write one value at a dotted path as a nested object."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


def _touched(path: str, written: set[str]) -> bool:
    """Tell whether writing the given paths replaces the leaf at `path`."""
    return any(path == new or path.startswith(f"{new}.") or new.startswith(f"{path}.") for new in written)
