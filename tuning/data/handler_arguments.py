"""Compare what a handler is given with the annotations of its parameters, before any row is read."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from tuning.config.types import describe
from tuning.errors import Problem

_LISTS = (list, Sequence)
_OBJECTS = (dict, Mapping)


def wrong_arguments(function: Callable[..., Any], given: Mapping[str, Any]) -> Iterator[tuple[str, Problem]]:
    """Yield the name of each argument that its annotation does not allow, and what is wrong with it.

    A parameter without an annotation, or with one of another package, takes anything.
    """
    annotations = _annotations(function)
    for name, value in given.items():
        if not _fits(value, annotations.get(name, Any)):
            yield name, Problem(name, f"expected {describe(annotations[name])}", value)


def with_lists(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Take a single name as a list of one, where a list of names is expected."""
    annotations = _annotations(function)
    return {
        name: [value] if isinstance(value, str) and _takes_only_lists(annotations.get(name, Any)) else value
        for name, value in given.items()
    }


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(function)
    except (AttributeError, NameError, SyntaxError, TypeError):  # of a function that is not ours
        return {}


def _takes_only_lists(annotation: Any) -> bool:
    return not _fits("", annotation) and _fits([""], annotation)


def _fits(value: Any, annotation: Any) -> bool:
    kind, inner = get_origin(annotation) or annotation, get_args(annotation)
    if kind is Annotated:
        return _fits(value, inner[0])
    if kind in (Union, types.UnionType):
        return any(_fits(value, option) for option in inner)
    if kind is Literal:
        return value in inner
    if kind in _LISTS:
        return isinstance(value, (list, tuple)) and all(_fits(item, part) for part in inner for item in value)
    if kind in _OBJECTS:
        parts = list(zip(inner, ([*value], [*value.values()]), strict=False)) if isinstance(value, Mapping) else []
        return isinstance(value, Mapping) and all(_fits(item, part) for part, items in parts for item in items)
    return _is_plain(value, kind)


def _is_plain(value: Any, kind: Any) -> bool:
    if kind is type(None):
        return value is None
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    return isinstance(value, kind) if kind in (str, bool) else True
