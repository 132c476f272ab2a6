"""Read JSON as its standard has it: a key stands once, and every number is finite."""

from __future__ import annotations

import json
from typing import Any

from tuning.errors import Problem


def load_json(text: str) -> tuple[Any, list[Problem]]:
    """Read one JSON document; a duplicate key, NaN and Infinity are problems, told together with all others.

    Raises:
        ValueError: the text is not JSON, or is nested too deeply.
    """
    problems: list[Problem] = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen:
                problems.append(Problem(key, "the key stands twice in one object; keep one", value))
            seen[key] = value
        return seen

    def refuse(constant: str) -> None:
        problems.append(Problem(constant, "JSON has no such number; give a finite one", constant))

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=refuse), problems
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
