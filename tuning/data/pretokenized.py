"""Take rows that are token ids already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuning.causal_lm import IGNORED_LABEL
from tuning.errors import DataError

_LARGEST_ID = 2**31 - 1
"""Tokens are kept as 32-bit numbers; no vocabulary comes near it."""


def pretokenized(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return `input_ids` and, where the row has them, `labels`; positions that `attention_mask` hides are left out.

    Raises:
        DataError: a list is empty, of another length, or holds what can be no id; or no token is trained on.
    """
    input_ids = _whole_numbers(row, "input_ids")
    labels = _whole_numbers(row, "labels") if row.get("labels") is not None else None
    mask = _whole_numbers(row, "attention_mask") if row.get("attention_mask") is not None else [1] * len(input_ids)
    for column, values in (("labels", labels), ("attention_mask", mask)):
        if values is not None and len(values) != len(input_ids):
            raise DataError(f"column {column}: has {len(values)} values where input_ids has {len(input_ids)}")
    _refuse_others("input_ids", input_ids, [token for token in input_ids if not 0 <= token <= _LARGEST_ID])
    others = [label for label in labels or () if not 0 <= label <= _LARGEST_ID and label != IGNORED_LABEL]
    _refuse_others("labels", labels or [], others)
    _refuse_others("attention_mask", mask, [seen for seen in mask if seen not in (0, 1)])
    return _supervised(_seen(input_ids, mask), labels and _seen(labels, mask))


def _supervised(input_ids: list[int], labels: list[int] | None) -> dict[str, Any]:
    if not input_ids:
        raise DataError("column input_ids: is empty")
    if labels is None:
        return {"input_ids": input_ids}
    if all(label == IGNORED_LABEL for label in labels):
        raise DataError(f"column labels: every one is {IGNORED_LABEL}, so nothing to train on")
    return {"input_ids": input_ids, "labels": labels}


def _seen(values: list[int], mask: list[int]) -> list[int]:
    return [value for value, seen in zip(values, mask, strict=True) if seen]


def _whole_numbers(row: Mapping[str, Any], column: str) -> list[int]:
    values = row.get(column)
    if not isinstance(values, list) or not all(type(value) is int for value in values):
        raise DataError(f"column {column}: expected a list of whole numbers")
    return values


def _refuse_others(column: str, values: list[int], others: list[int]) -> None:
    if others:
        raise DataError(f"column {column}: holds {others[0]} at position {values.index(others[0])}")
