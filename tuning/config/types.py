"""The types that configuration fields are made of, and the words that describe them to a user."""

from __future__ import annotations

import json
import re
import types
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BeforeValidator, Field
from pydantic.fields import FieldInfo


def _not_a_flag(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a number, not true or false")
    return value


def _split_at_commas(value: Any) -> Any:
    return [item.strip() for item in value.split(",") if item.strip()] if isinstance(value, str) else value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _as_modules(value: Any) -> Any:
    """Take `["all-linear"]`, as fms-hf-tuning's files write it, and `q_proj,v_proj` for what they mean."""
    if isinstance(value, list) and value == ["all-linear"]:
        return "all-linear"
    return _split_at_commas(value) if isinstance(value, str) and "," in value else value


def _as_tracker_names(value: Any) -> Any:
    """Leave out what means no backend; fms-hf-tuning's file_logger is the event log that every run has."""
    names = _split_at_commas(value)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return value
    return [name.strip().lower() for name in names if name.strip().lower() not in ("", "none", "file_logger")]


def _as_object(value: Any) -> Any:
    """Take fms-hf-tuning's JSON text as well as an object."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _unescape(value: Any) -> Any:
    """Read a typed backslash-n as a line break, as fms-hf-tuning does for its templates."""
    return re.sub(r"\\[nrt]", lambda found: _ESCAPES[found[0]], value) if isinstance(value, str) else value


Integer = Annotated[int, BeforeValidator(_not_a_flag)]
Number = Annotated[float, BeforeValidator(_not_a_flag), Field(allow_inf_nan=False)]
Flag = bool
Unescaped = Annotated[str, BeforeValidator(_unescape)]
Text = Annotated[str, Field(min_length=1)]
Names = Annotated[list[str], BeforeValidator(_split_at_commas, json_schema_input_type=list[str] | str)]
Paths = Annotated[list[Text], BeforeValidator(_as_list, json_schema_input_type=list[Text] | Text)]
Modules = Annotated[list[str] | str, BeforeValidator(_as_modules)]
Trackers = Annotated[list[str], BeforeValidator(_as_tracker_names, json_schema_input_type=list[str] | str)]
JsonObject = Annotated[dict[str, Any], BeforeValidator(_as_object, json_schema_input_type=dict[str, Any] | str)]

Positive = Annotated[Number, Field(gt=0)]
NotNegative = Annotated[Number, Field(ge=0)]
Count = Annotated[Integer, Field(ge=1)]
Fraction = Annotated[Number, Field(ge=0, lt=1)]
Port = Annotated[Integer, Field(ge=1, le=65535)]

_ESCAPES = {"\\n": "\n", "\\r": "\r", "\\t": "\t"}
_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    dict: "an object",
    Mapping: "an object",
    list: "a list",
}
_BOUNDS = ((Gt, "gt", "above"), (Ge, "ge", "at least"), (Lt, "lt", "below"), (Le, "le", "at most"))


def describe(annotation: Any, metadata: tuple[Any, ...] = ()) -> str:
    """Say in words what values a type takes: `a number, above 0`, `one of: none, lora`."""
    if get_origin(annotation) is Annotated:
        inner, *extra = get_args(annotation)
        return describe(inner, (*_flatten(extra), *metadata))
    if get_origin(annotation) in (Union, types.UnionType):
        options = [describe(option, metadata) for option in get_args(annotation) if option not in (type(None), None)]
        return " or ".join(dict.fromkeys(options))
    if get_origin(annotation) is Literal:
        return "one of: " + ", ".join(str(choice) for choice in get_args(annotation))
    if get_origin(annotation) in (list, Sequence):
        return f"a list of {_plural(get_args(annotation)[0])}"
    return ", ".join([_WORDS.get(get_origin(annotation) or annotation, "a value"), *_bounds(metadata)])


def describe_field(field: FieldInfo) -> str:
    """Say in words what values a configuration field takes."""
    return describe(field.annotation, tuple(field.metadata))


def choices(annotation: Any) -> list[str]:
    """List the names that a type allows, where it allows only names."""
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)]
    return [name for option in get_args(annotation) for name in choices(option)]


def takes_only_text(annotation: Any) -> bool:
    """Tell whether a type takes text and nothing that a number or a flag could be mistaken for."""
    if get_origin(annotation) in (Union, types.UnionType):
        return all(takes_only_text(option) for option in get_args(annotation) if option is not type(None))
    if get_origin(annotation) is Annotated:
        return takes_only_text(get_args(annotation)[0])
    return annotation is str


def takes_list(annotation: Any) -> bool:
    """Tell whether a type takes a list; an unknown one may."""
    if get_origin(annotation) in (Union, types.UnionType):
        return any(takes_list(option) for option in get_args(annotation) if option is not type(None))
    if get_origin(annotation) is Annotated:
        return takes_list(get_args(annotation)[0])
    return get_origin(annotation) is list or annotation in (None, Any, list)


def _flatten(metadata: Any) -> list[Any]:
    found: list[Any] = []
    for item in metadata:
        found.extend(item.metadata if isinstance(item, FieldInfo) else [item])
    return found


def _bounds(metadata: tuple[Any, ...]) -> list[str]:
    numbers = [
        f"{word} {getattr(item, attribute)}"
        for kind, attribute, word in _BOUNDS
        for item in metadata
        if isinstance(item, kind)
    ]
    return [*numbers, *("not empty" for item in metadata if isinstance(item, MinLen))]


def _plural(annotation: Any) -> str:
    annotation = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    return {str: "names", int: "whole numbers", float: "numbers"}.get(annotation, "values")
