"""Make tokens of rows while they are trained on."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuning.config.sections import Data
from tuning.data.encoding import Encoding, one_thread
from tuning.data.rows import Rows
from tuning.data.sources import Skipped
from tuning.data.streaming import RowStream, stream_rows
from tuning.data.tokenization import num_supervised
from tuning.errors import DataError

if TYPE_CHECKING:
    from datasets import IterableDataset

logger = logging.getLogger(__name__)

_FIRST_ROWS = 1000
"""Rows that are tokenized and audited before anything starts."""
_PLACES_KEPT = 4096
"""More than the rows that are read before the first of them is tokenized."""


@dataclass(frozen=True)
class TokenStream:
    """The tokens of streamed rows, read anew whenever they are iterated over; rows that teach nothing are left out."""

    rows: RowStream
    encoding: Encoding

    def __iter__(self) -> Iterator[dict[str, list[int]]]:
        places: list[str] = [""] * _PLACES_KEPT

        def values() -> Iterator[Mapping[str, Any]]:
            for number, row in enumerate(self.rows):
                places[number % _PLACES_KEPT] = row.place
                yield row.values

        def refuse(number: int, error: DataError) -> None:
            self.rows.tell_skipped(Skipped(places[number % _PLACES_KEPT], str(error)))

        with one_thread():
            for tokens in self.encoding.token_rows(values(), refuse):
                if num_supervised(tokens.labels):
                    yield {"input_ids": tokens.input_ids, "labels": tokens.labels}


def open_stream(data: Data, seed: int) -> RowStream:
    """Look at the first rows of each dataset, and at all that are held out; a row that is skipped is told once.

    Raises:
        DataError: none of the first rows can be used, or too few of those held out.
    """
    return stream_rows(data, seed, _tell)


def first_rows(rows: RowStream) -> Rows:
    """Read the rows that are looked at before anything starts: the first to train on, and all that are held out."""
    first = list(itertools.islice(rows, _FIRST_ROWS))
    return Rows(rows.format, first, rows.validation, (), len(first) + len(rows.validation))


def streamed_dataset(tokens: TokenStream) -> IterableDataset:
    """Make the dataset that TRL's trainer reads."""
    from datasets import Features, IterableDataset, Sequence, Value

    features = Features({"input_ids": Sequence(Value("int32")), "labels": Sequence(Value("int32"))})
    return IterableDataset.from_generator(lambda: iter(tokens), features=features)


def _tell(skipped: Skipped) -> None:
    logger.warning("a row is left out: %s: %s", *skipped)
