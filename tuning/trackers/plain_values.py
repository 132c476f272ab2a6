"""Turn any Python value into plain JSON values, without importing the library that it comes from."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Mapping
from typing import Any

from tuning.trackers.event_log import number_to_json

# Deeper than any configuration, and far from Python's own recursion limit.
_DEEPEST = 30


def to_plain(value: Any, depth: int = 0) -> Any:
    """Convert to dict, list, str, int, float, bool or None; an object nobody knows becomes its text."""
    try:
        return _plain(value, depth)
    except Exception:
        return f"<{type(value).__name__} that cannot be written>"


def to_number(value: Any) -> float | int | None:
    """Return a number, or the only number in an array or tensor; None for anything else."""
    if type(value) is float:  # what nearly every metric is
        return value
    if not isinstance(value, (int, float)) and hasattr(value, "item"):
        try:
            value = value.item()
        except (ValueError, RuntimeError, TypeError):
            return None
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (int, float)):
        return _bounded(value)
    return None


def _bounded(number: float | int) -> float | int:
    """Write an integer beyond 64 bits, which no tracker stores as such, as a float."""
    if isinstance(number, int) and not -(2**63) <= number < 2**63:
        return float(number) if abs(number) < 10**308 else math.inf if number > 0 else -math.inf
    # A subclass (numpy's float64, an IntEnum) would otherwise reach the JSON writer.
    return int(number) if isinstance(number, int) else float(number)


def _plain(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, enum.Enum):
        return _plain(value.value, depth)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        return number_to_json(float(value))
    if isinstance(value, int):
        return int(value) if -(2**63) <= value < 2**63 else str(int(value))
    if depth >= _DEEPEST:
        return str(value)
    return _plain_container(value, depth + 1)


def _plain_container(value: Any, depth: int) -> Any:
    if isinstance(value, Mapping):
        return {_plain_key(key): to_plain(item, depth) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted((to_plain(item, depth) for item in value), key=str)
    if isinstance(value, (list, tuple)):
        return [to_plain(item, depth) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name), depth) for field in dataclasses.fields(value)}
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    return _plain_object(value, depth)


def _plain_object(value: Any, depth: int) -> Any:
    for method in ("model_dump", "tolist"):  # pydantic's; numpy's and torch's
        if callable(getattr(value, method, None)):
            return to_plain(getattr(value, method)(), depth)
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return str(value)


def _plain_key(key: Any) -> str:
    return str(key.value) if isinstance(key, enum.Enum) else str(key)
