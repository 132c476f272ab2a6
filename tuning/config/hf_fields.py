"""Read the fields of the installed `SFTConfig` from its source, because importing it costs seconds."""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union

from tuning.config.types import Flag, Integer, Number

_CLASSES = (
    ("transformers", "training_args.py", "TrainingArguments"),
    ("trl", "trainer/base_config.py", "_BaseConfig"),
    ("trl", "trainer/sft_config.py", "SFTConfig"),
)
_ENUMS = ("trainer_utils.py", "training_args.py", "debug_utils.py")
_SIMPLE: dict[str, Any] = {
    "int": Integer,
    "float": Number,
    "bool": Flag,
    "str": str,
    "dict": dict[str, Any],
    "list": list[Any],
    "Any": Any,
    "None": None,
}
_CLASS = re.compile(r"^class (?P<name>\w+)(?:\((?P<bases>[^)]*)\))?:\n(?P<body>(?:[ \t].*\n|\n)*)", re.MULTILINE)
_METHOD = re.compile(r"^    (?:def |@)", re.MULTILINE)


@dataclass(frozen=True)
class HFField:
    """One field of `SFTConfig`: its type, its default where that is a literal, and its help text."""

    name: str
    annotation: Any
    default: Any
    help: str


@functools.cache
def sft_config_fields() -> dict[str, HFField]:
    """Map every field name of the installed `SFTConfig` to its description; importing neither TRL nor torch."""
    enums = dict(_enums())
    fields: dict[str, HFField] = {}
    for package, file, name in _CLASSES:
        for statement in _class_body(package, file, name):
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                found = _field(statement.target.id, statement, enums)
                fields[found.name] = found
    return fields


def _field(name: str, statement: ast.AnnAssign, enums: dict[str, Any]) -> HFField:
    keywords = {key.arg: key.value for key in statement.value.keywords} if isinstance(statement.value, ast.Call) else {}
    metadata = _literal_entries(keywords.get("metadata"))
    annotation = _type_of(statement.annotation, enums)
    if choices := metadata.get("choices"):
        annotation = Literal[tuple(choices)]
    help_text = str(metadata.get("help") or "").replace("%%", "%")
    return HFField(name, annotation, _literal(keywords.get("default")), help_text)


def _type_of(node: ast.expr, enums: dict[str, Any]) -> Any:
    """Turn an annotation into a type that can be checked; what is not known here accepts any value."""
    if isinstance(node, ast.BinOp):
        left, right = _type_of(node.left, enums), _type_of(node.right, enums)
        if getattr(left, "__origin__", None) is Literal and right is str:
            return left  # `SchedulerType | str` means one of the scheduler's names
        return Union[left, right]  # noqa: UP007 (built at run time)
    if isinstance(node, ast.Constant):
        return _SIMPLE.get(str(node.value), Any)
    if isinstance(node, ast.Name):
        return _SIMPLE.get(node.id, enums.get(node.id, Any))
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        return _subscript(node.value.id, node.slice, enums)
    return Any


def _subscript(container: str, inside: ast.expr, enums: dict[str, Any]) -> Any:
    if container == "Literal":
        return Literal[ast.literal_eval(inside)]
    if container == "Optional":
        return Union[_type_of(inside, enums), None]  # noqa: UP007
    if container == "list":
        return list[_type_of(inside, enums)]  # type: ignore[misc]
    return dict[str, Any] if container == "dict" else Any


def _enums() -> Iterator[tuple[str, Any]]:
    """Find the string enumerations that the fields are annotated with, as `Literal` types."""
    for file in _ENUMS:
        for name, (bases, fields) in _classes("transformers", file).items():
            if "Enum" in bases:
                values = [_literal(item.value) for item in _parsed(fields) if isinstance(item, ast.Assign)]
                if values and all(isinstance(value, str) for value in values):
                    yield name, Literal[tuple(values)]


def _class_body(package: str, file: str, name: str) -> list[ast.stmt]:
    _, fields = _classes(package, file).get(name, ("", ""))
    return _parsed(fields)


def _parsed(fields: str) -> list[ast.stmt]:
    return ast.parse(f"if True:\n{fields}").body[0].body if fields.strip() else []  # type: ignore[attr-defined]


@functools.cache
def _classes(package: str, file: str) -> dict[str, tuple[str, str]]:
    """Cut a module's classes out of its text: each one's bases, and its fields, which stand before its methods.

    Parsing the methods, too, would take five times as long.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"'{package}' is not installed: reinstall with pip install tuning", name=package)
    path = Path(spec.submodule_search_locations[0]) / file
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return {found["name"]: (found["bases"] or "", _METHOD.split(found["body"])[0]) for found in _CLASS.finditer(text)}


def _literal_entries(node: ast.expr | None) -> dict[str, Any]:
    """Read the entries of a dict display; one that is computed is None."""
    if not isinstance(node, ast.Dict):
        return {}
    return {_literal(key): _literal(value) for key, value in zip(node.keys, node.values, strict=True)}


def _literal(node: ast.expr | None) -> Any:
    if node is None:
        return None
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None
