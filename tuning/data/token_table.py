"""Tokenized rows as columns: compact, quick to look through, and what is kept on disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuning.data.tokenization import TokenRow

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


def token_table(rows: Iterable[TokenRow], places: Sequence[str]) -> TokenTable:
    """Collect tokenized rows."""
    import pyarrow

    ids = pyarrow.list_(pyarrow.int32())
    fields = {"input_ids": ids, "labels": ids, "row": pyarrow.int32(), "num_lost": pyarrow.int32()}
    columns = list(zip(*rows, strict=True)) or [()] * len(fields)
    arrays = [pyarrow.array(column, kind) for column, kind in zip(columns, fields.values(), strict=True)]
    return TokenTable(pyarrow.table(arrays, names=list(fields)), places)
