"""The one case in which a value of the user's does not stay: a run that would crash with it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from tuning.config.ir import IR, leaves, nested
from tuning.errors import Problem
from tuning.recommender.action import Level, Overridden, Recommendation

_OVERRIDE = "override "
"""Starts the source of a value that stands in the place of the user's. It is no action's: from then on every action,
also that of a later completion, leaves such a value alone as it would leave the user's own."""


def override_of(name: str) -> str:
    """Return the source of values with which the action of that name replaced the user's."""
    return f"{_OVERRIDE}{name}"


def is_override(ir: IR, path: str) -> bool:
    """Tell whether a value stands in the place of the user's."""
    return ir.sources.get(path, "").startswith(_OVERRIDE)


def crashes(recommendations: Iterable[Recommendation], current: IR, original: IR) -> list[tuple[str, Overridden]]:
    """List what the user set and the run would crash with, each with the name of the action that knows better.

    `current` is the document once everything else is decided, so that nothing is replaced that another value mends. Of
    two actions that would replace one value, the first counts; the next pass shows whether the other still has to.
    """
    found: dict[str, tuple[str, Overridden]] = {}
    for made in recommendations:
        if made.level is Level.MANDATORY:
            for path, value in leaves(made.patch):
                if path not in found and _is_users(original, path) and not _same(current.get(path), value):
                    user, source = original.get(path), _source(original, path)
                    found[path] = made.action, Overridden(path, user, source, value, made.comment)
    return list(found.values())


def problems(found: Iterable[tuple[str, Overridden]]) -> Iterator[Problem]:
    """Write as refusals what would be replaced without `recommender.strict`."""
    for _, replaced in found:
        mend = "Leave it out" if replaced.now is None else f"Set it to {json.dumps(replaced.now)}"
        hint = f"{mend}, or set recommender.strict=false to have that done."
        expected = f"the run would crash: {replaced.because}"
        yield Problem(replaced.path, expected, replaced.user, replaced.source, hint)


def overridden(ir: IR, name: str, replaced: Overridden) -> IR:
    """Put one value in the place of the user's."""
    return ir.merge(nested(replaced.path, replaced.now), override_of(name))


def _is_users(ir: IR, path: str) -> bool:
    return ir.get(path) is not None and ir.is_set_by_user(path)


def _same(first: Any, second: Any) -> bool:
    return first == second and type(first) is type(second)


def _source(ir: IR, path: str) -> str:
    return next(origin for leaf, origin in ir.sources.items() if leaf == path or leaf.startswith(f"{path}."))
