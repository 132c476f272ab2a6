"""Make tokens of rows while they are trained on."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.config.sections import Data
from tuning.data.encoding import Encoding, TokenizeRows, one_thread
from tuning.data.rows import Rows
from tuning.data.skipped_rows import append_skipped
from tuning.data.sources import Skipped
from tuning.data.streaming import RowStream, Tally, stream_rows
from tuning.data.tokenization import TokenRow, num_supervised
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
    """The tokens of streamed rows, one pass after another without end; rows that teach nothing are left out.

    transformers drops the part of a step that the end of an iterator leaves, and starts the next one: with fewer rows
    than a step takes, no step would ever be made. `max_steps` ends the training.
    """

    rows: RowStream
    encoding: Encoding

    def __iter__(self) -> Iterator[dict[str, list[int]]]:
        """Tokenize rows; raises DataError where too many are skipped, or a whole pass has nothing to train on."""
        tokenized, is_first = self.encoding.tokenizer_of_rows(), True
        while True:
            tally, num_taught = self.rows.tally(), 0
            with one_thread():
                for tokens in self._tokens(tokenized, tally):
                    if num_supervised(tokens.labels):
                        num_taught += 1
                        yield {"input_ids": tokens.input_ids, "labels": tokens.labels}
            if is_first:
                tally.check()  # later passes read the same rows, and would tell the same
            if not num_taught:
                raise DataError(f"none of the {tally.num_read} rows that are streamed has anything to train on")
            is_first = False

    def _tokens(self, tokenized: TokenizeRows, tally: Tally) -> Iterator[TokenRow]:
        """Tokenize the rows of one pass."""
        places: list[str] = [""] * _PLACES_KEPT

        def values() -> Iterator[Mapping[str, Any]]:
            for number, row in enumerate(self.rows.read(tally)):
                places[number % _PLACES_KEPT] = row.place
                yield row.values

        def refuse(number: int, error: DataError) -> None:
            tally.skip(Skipped(places[number % _PLACES_KEPT], str(error)))

        def leave_out(number: int) -> None:
            place = places[number % _PLACES_KEPT]
            if place not in self.rows.told:
                self.rows.told.add(place)
                logger.info("%s has more tokens than skip_samples_with_large_columns allows; it is left out", place)

        return tokenized(values(), refuse=refuse, leave_out=leave_out)

    def listing_skipped(self, listed: Sequence[Skipped], folder: Path) -> TokenStream:
        """Return the same stream, which adds the rows that it skips to the list in a folder; some are listed there."""

        def tell(skipped: Skipped) -> None:
            _tell(skipped)
            append_skipped([skipped], folder)

        told = {one.place for one in listed}
        return replace(self, rows=replace(self.rows, tell_skipped=tell, told=told))


def open_stream(data: Data, seed: int) -> RowStream:
    """Look at the first rows of each dataset, and at all that are held out; a row that is skipped is told once.

    Raises:
        DataError: none of the first rows can be used, or too few of those held out.
    """
    return stream_rows(data, seed, _tell)


def first_rows(rows: RowStream) -> Rows:
    """Read the rows that are looked at before anything starts: the first to train on, and all that are held out.

    Raises:
        DataError: too many of the first cannot be used.
    """
    tally = rows.tally()
    first = list(itertools.islice(rows.read(tally), _FIRST_ROWS))
    tally.check()
    return Rows(rows.format, first, rows.validation, [*tally.skipped, *rows.skipped], tally.num_read + rows.num_read)


def streamed_dataset(tokens: TokenStream) -> IterableDataset:
    """Make the dataset that TRL's trainer reads."""
    from datasets import Features, IterableDataset, Sequence, Value

    features = Features({"input_ids": Sequence(Value("int32")), "labels": Sequence(Value("int32"))})
    return IterableDataset.from_generator(lambda: iter(tokens), features=features)


def _tell(skipped: Skipped) -> None:
    logger.warning("a row is left out: %s: %s", skipped.place, skipped.reason)
