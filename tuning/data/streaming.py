"""Read, convert and mix rows while they are trained on: for data that is too much to be read beforehand."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from tuning.config.sections import Data, Dataset
from tuning.data.conversion import converted
from tuning.data.data_config import resolved
from tuning.data.mixing import ALL_EXHAUSTED, mixed
from tuning.data.rows import check_skipped, format_of, load_part
from tuning.data.run_datasets import datasets_of, is_trained_on, shares_of, validation_dataset
from tuning.data.sources import Row, Skipped
from tuning.errors import DataError

_FIRST_ROWS = 100
"""Rows of each dataset that are looked at before anything starts."""
_ROWS_BEFORE_A_SHARE = 1000
"""Rows that are read before the share of skipped ones says something."""

Tell = Callable[[Skipped], None]


@dataclass(frozen=True)
class RowStream:
    """The rows to train on, read anew whenever they are iterated over and always in the same order.

    `format` and `validation` are as in `Rows`; `skipped` and `num_read` are of the held-out rows. Iterating raises
    DataError where more rows than allowed are skipped; each row that is skipped is told once.
    """

    format: str
    validation: Sequence[Row]
    datasets: Sequence[Dataset]
    seed: int
    strategy: str
    max_skipped_share: float
    tell_skipped: Tell
    skipped: Sequence[Skipped] = ()
    num_read: int = 0
    told: set[str] = field(default_factory=set)

    def __iter__(self) -> Iterator[Row]:
        tally = self.tally()
        yield from self.read(tally)
        tally.check()

    def tally(self) -> Tally:
        """Start to count the rows of one pass."""
        return Tally(self.max_skipped_share, self._tell)

    def read(self, tally: Tally) -> Iterator[Row]:
        """Read all rows once, and count them.

        Raises:
            DataError: so far, more rows than allowed are skipped.
        """
        sources = [partial(_usable, dataset, tally) for dataset in self.datasets]
        shares = shares_of(self.datasets)
        if shares is None:
            yield from itertools.chain.from_iterable(source() for source in sources)
        else:
            yield from mixed(sources, shares, self.seed, self.strategy)

    def _tell(self, item: Skipped) -> None:
        if item.place not in self.told:
            self.told.add(item.place)
            self.tell_skipped(item)


def stream_rows(data: Data, seed: int, tell_skipped: Tell = lambda item: None) -> RowStream:
    """Prepare the rows of a run for reading while it trains; held-out rows are read at once.

    The first rows of each dataset are looked at, so that a wrong format is refused here.

    Raises:
        DataError: none of the first rows of a dataset can be used, or a held-out row cannot.
        ConfigError: the data config file cannot be used.
    """
    data = resolved(data)
    mixture_seed = seed if data.sampling_seed is None else data.sampling_seed
    datasets = datasets_of(data)
    trained = [dataset for dataset in datasets if is_trained_on(dataset)]
    formats = [_format_of_first_rows(dataset) for dataset in trained]
    held_out = [*(dataset for dataset in datasets if not is_trained_on(dataset)), validation_dataset(data)]
    parts = [load_part(dataset, mixture_seed) for dataset in held_out if dataset is not None]
    skipped = [item for part in parts for item in part.skipped]
    num_read = sum(part.num_read for part in parts)
    check_skipped(skipped, num_read, data.max_skipped_share)
    for item in skipped:
        tell_skipped(item)
    validation = [row for part in parts for row in part.validation]
    strategy = data.sampling_stopping_strategy or ALL_EXHAUSTED
    share = data.max_skipped_share
    return RowStream(
        format_of(formats), validation, trained, mixture_seed, strategy, share, tell_skipped, skipped, num_read
    )


@dataclass
class Tally:
    """Count the rows of one pass, and end it where too many of them cannot be used."""

    max_skipped_share: float
    tell: Tell
    num_read: int = 0
    skipped: list[Skipped] = field(default_factory=list)

    def take(self, item: Row | Skipped) -> None:
        """Count a row that was read."""
        self.num_read += 1
        if isinstance(item, Skipped):
            self.skip(item)

    def skip(self, item: Skipped) -> None:
        """Note that a row, which is counted already, cannot be used.

        Raises:
            DataError: more of the rows so far than allowed cannot be used.
        """
        self.skipped.append(item)
        self.tell(item)
        too_many = self.num_read >= _ROWS_BEFORE_A_SHARE and len(self.skipped) > self.max_skipped_share * self.num_read
        if too_many or item.must_be_mended:
            self.check()

    def check(self) -> None:
        """Look at the rows so far, as at the end of a pass.

        Raises:
            DataError: more of them than allowed cannot be used.
        """
        check_skipped(self.skipped, self.num_read, self.max_skipped_share)


def _usable(dataset: Dataset, tally: Tally) -> Iterator[Row]:
    for item in converted(dataset).rows:
        tally.take(item)
        if isinstance(item, Row):
            yield item


def _format_of_first_rows(dataset: Dataset) -> str:
    found = converted(dataset)
    first = list(itertools.islice(found.rows, _FIRST_ROWS))
    if all(isinstance(item, Skipped) for item in first):
        check_skipped([item for item in first if isinstance(item, Skipped)], len(first), 0)
        raise DataError(f"{', '.join(dataset.data_paths)}: there are no rows")
    return found.format
