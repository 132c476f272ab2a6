"""Tokenized rows as columns: compact, quick to look through, and what is kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True)
class TokenTable:
    """Sequences of token ids with their labels, and where each came from.

    The columns of `table` are `input_ids` and `labels` (lists of int32, of the same length), `row` (int32: number of
    the converted row that the sequence was made of) and `num_lost` (int32: supervised tokens that truncation took).
    `places` names the converted rows: `train.jsonl row 12`.
    """

    table: pyarrow.Table
    places: Sequence[str]


def token_schema() -> pyarrow.Schema:
    """Name the columns and their types."""
    import pyarrow

    ids, number = pyarrow.list_(pyarrow.int32()), pyarrow.int32()
    return pyarrow.schema({"input_ids": ids, "labels": ids, "row": number, "num_lost": number})
