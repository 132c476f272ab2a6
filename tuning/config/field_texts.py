"""The help text of each field: the string that stands below it in the source of its section."""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping
from pathlib import Path


@functools.cache
def field_texts() -> Mapping[tuple[str, str], str]:
    """Map class and field of the schema to the text, read in one pass over the sources.

    pydantic would read the source once for every class while it is imported, which is half of the time of a start.
    """
    return {
        (section.name, field.target.id): _joined(text.value.value)
        for file in ("schema.py", "sections.py", "acceleration_fields.py", "control_fields.py", "export_fields.py")
        for section in ast.parse(Path(__file__).with_name(file).read_text(encoding="utf-8")).body
        if isinstance(section, ast.ClassDef)
        for field, text in zip(section.body, section.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


def _joined(text: str) -> str:
    return " ".join(text.split())
