"""Take merge patches (RFC 7396) apart and put them together, nulls included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tuning.config.ir import IR, leaves

if TYPE_CHECKING:
    from tuning.recommender.action import Recommendation


def allowed(patch: Mapping[str, Any], ir: IR, prefix: str = "") -> dict[str, Any]:
    """Keep the part of a patch that writes no value of the user's."""
    kept: dict[str, Any] = {}
    for key, value in patch.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            inner = allowed(value, ir, f"{path}.")
            kept |= {key: inner} if inner else {}
        elif not ir.is_set_by_user(path):
            kept[key] = value
    return kept


def holds(ir: IR, patch: Mapping[str, Any], origin: str) -> bool:
    """Tell whether a document has all values of a patch already, and from the same source."""
    return all(
        ir.sources.get(path) == origin and ir.get(path) == value and type(ir.get(path)) is type(value)
        for path, value in leaves(patch)
    )


def written_by(values: Mapping[str, Any], sources: Mapping[str, str], origin: str, prefix: str = "") -> dict[str, Any]:
    """Keep the values that have one source."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            inner = written_by(value, sources, origin, f"{path}.")
            found |= {key: inner} if inner else {}
        elif sources.get(path) == origin:
            found[key] = value
    return found


def removed(patch: Mapping[str, Any], original: IR, final: IR, prefix: str = "") -> dict[str, Any]:
    """Keep the nulls of a patch that removed something."""
    found: dict[str, Any] = {}
    for key, value in patch.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping):
            inner = removed(value, original, final, f"{path}.")
            found |= {key: inner} if inner else {}
        elif value is None and original.get(path) is not None and final.get(path) is None:
            found[key] = None
    return found


def joined(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Join two merge patches into one, nulls kept; where both write a key, the second counts."""
    both = dict(first)
    for key, value in second.items():
        mine = both.get(key)
        both[key] = joined(mine, value) if isinstance(mine, Mapping) and isinstance(value, Mapping) else value
    return both


def explained_patch(recommendations: Iterable[Recommendation]) -> list[dict[str, Any]]:
    """List everything that recommendations change in a document, as one JSON patch (RFC 6902) with its reasons.

    Applied to the document that was completed it gives the completed one. Each operation also has the members action,
    level, kind, comment and source, which the RFC has every reader ignore that does not know them.
    """
    return [
        {
            **operation,
            "action": made.action,
            "level": made.level.value,
            "kind": made.kind.value,
            "comment": made.comment,
            "source": made.source,
        }
        for made in recommendations
        for operation in made.json_patch
    ]
