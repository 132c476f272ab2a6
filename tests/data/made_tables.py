"""Tables of tokens, made of a few rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow

from tuning.data.token_table import TokenTable, token_schema
from tuning.data.tokenization import TokenRow


def token_table(rows: Iterable[TokenRow], places: Sequence[str]) -> TokenTable:
    """Collect tokenized rows."""
    schema = token_schema()
    columns = list(zip(*rows, strict=True)) or [()] * len(schema)
    arrays = [pyarrow.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    return TokenTable(pyarrow.table(arrays, schema=schema), places)
