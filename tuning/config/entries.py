"""Say what is wrong in a list of objects, each at its own place: `data.datasets[0].split`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, get_args, get_origin

from pydantic import ValidationError

from tuning.config.section import Section
from tuning.config.types import describe_field
from tuning.errors import Problem
from tuning.registry import did_you_mean


def entry_problems(kind: type[Section], path: str, entries: Sequence[Any], source: str | None) -> Iterator[Problem]:
    """Name what is wrong in a list at a path whose items are to be read as `kind`."""
    for number, entry in enumerate(entries):
        where = f"{path}[{number}]"
        if not isinstance(entry, Mapping):
            yield Problem(where, "expected an object", entry, source)
            continue
        try:
            kind.model_validate(entry)
        except ValidationError as error:
            yield from (_problem(kind, where, entry, found, source) for found in error.errors())


def kind_of_entries(annotation: Any) -> type[Section] | None:
    """Return what the items of a list are where a type is a list of objects with fields of their own, or None."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return None
    if get_origin(annotation) is list:
        (item,) = get_args(annotation)
        return item if isinstance(item, type) and issubclass(item, Section) else None
    options = get_args(annotation)[: 1 if get_origin(annotation) is Annotated else None]
    return next((kind for option in options if (kind := kind_of_entries(option)) is not None), None)


def _problem(kind: type[Section], path: str, entry: Mapping[str, Any], error: Any, source: str | None) -> Problem:
    names = error["loc"]
    where = path + "".join(f"[{name}]" if isinstance(name, int) else f".{name}" for name in names)
    if error["type"] == "missing":
        return Problem(where, "is required", None, source)
    if error["type"] == "extra_forbidden":
        hint = did_you_mean(str(names[-1]), list(kind.model_fields))
        return Problem(where, "there is no such field", error["input"], source, hint)
    if len(names) == 1 and names[0] in kind.model_fields:
        return Problem(where, f"expected {describe_field(kind.model_fields[names[0]])}", entry[names[0]], source)
    return Problem(where, str(error["msg"]).lower(), error["input"], source)
