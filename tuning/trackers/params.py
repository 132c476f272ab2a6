"""Turn nested params into the flat ones that every tracker can hold, and back."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

Scalar = str | int | float | bool | None

# MLflow's limit; the other trackers have none that is lower.
LONGEST_KEY = 250
# Servers of older MLflow versions refuse longer values. Source: MLflow's MAX_PARAM_VAL_LENGTH, 500 before 2.8.
LONGEST_VALUE = 500

_UNFIT = re.compile(r"[^\w\-./ :]", re.ASCII)


def flatten(values: Any, prefix: str = "") -> dict[str, Scalar]:
    """Join nested names with dots; a list of scalars becomes one JSON text, any other list is numbered."""
    flat: dict[str, Scalar] = {}
    for key, value in _leaves(values, prefix):
        flat[_unused(clean_key(key), flat)] = value
    return flat


def nest(flat: Mapping[str, Scalar]) -> dict[str, Any]:
    """Undo `flatten`; no name may be both a value and a prefix."""
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *parents, last = key.split(".")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return nested


def prefixes(key: str) -> list[str]:
    """List the dotted names above a name: `a.b.c` stands below `a` and `a.b`."""
    parts = key.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts))]


def clean_key(key: str) -> str:
    """Fit a name of a param, metric or artifact to every tracker: letters, digits, `_ - . / :` and spaces."""
    clean = re.sub(r"\.{2,}", ".", re.sub(r"/{2,}", "/", _UNFIT.sub("_", key)))
    clean = re.sub(r"(?<=/)\.(?=/)", "_", clean).strip("/. ") or "_"
    if len(clean) <= LONGEST_KEY:
        return clean
    return f"{clean[: LONGEST_KEY - 17]}-{_digest(key)[:16]}"


def shorten(value: Scalar) -> Scalar:
    """Cut a long text and say its length and SHA-256, so that two long values can still be told apart."""
    if not isinstance(value, str) or len(value) <= LONGEST_VALUE:
        return value
    ending = f"… [{len(value)} characters, sha256 {_digest(value)}]"
    return value[: LONGEST_VALUE - len(ending)] + ending


def as_text(value: Scalar) -> str:
    """Write a value for a tracker that only holds text."""
    return str(value)


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Scalar]]:
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(item, (Mapping, list)) for item in value):
        yield from _leaves({str(index): item for index, item in enumerate(value)}, path)
    elif isinstance(value, (list, Mapping)):
        yield path or "_", json.dumps(value)
    else:
        yield path or "_", value


def _unused(key: str, taken: Mapping[str, Scalar]) -> str:
    """Number a name that two different ones were cleaned to."""
    number, candidate = 2, key
    while candidate in taken:
        candidate = f"{key[: LONGEST_KEY - 6]}_{number}"
        number += 1
    return candidate


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
