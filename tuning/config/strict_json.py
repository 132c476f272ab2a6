"""Read JSON as its standard has it: a key stands once, and every number is finite."""

from __future__ import annotations

import json
import math
from typing import Any

from tuning.errors import Problem


def load_json(text: str) -> tuple[Any, list[Problem]]:
    """Read one JSON document; a duplicate key and a number that is not finite are problems, told together.

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

    def finite(text: str) -> float:
        number = float(text)
        if not math.isfinite(number):
            problems.append(Problem(text, "the number is not finite; give a finite one", text))
        return number

    try:
        return json.loads(text, object_pairs_hook=unique, parse_constant=refuse, parse_float=finite), problems
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
