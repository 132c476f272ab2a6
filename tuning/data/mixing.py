"""Mix rows of several datasets by weight: which dataset each row is drawn from, and when the mixture ends."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from tuning.errors import DataError

T = TypeVar("T")

ALL_EXHAUSTED = "all_exhausted"
FIRST_EXHAUSTED = "first_exhausted"
WITHOUT_REPLACEMENT = "all_exhausted_without_replacement"


def mixed(
    sources: Sequence[Callable[[], Iterable[T]]], shares: Sequence[float], seed: int, strategy: str = ALL_EXHAUSTED
) -> Iterator[T]:
    """Draw each row from a dataset chosen by the shares; the order depends on the seed alone.

    A source is called for its rows whenever they are needed from the start. The strategies are those of
    `datasets.interleave_datasets`: `first_exhausted` ends with the last row of the first dataset that runs out;
    `all_exhausted` starts a dataset anew that runs out, until each has been seen whole;
    `all_exhausted_without_replacement` goes on with the others.

    Raises:
        DataError: a source has no rows.
    """
    drawn = [(source, share) for source, share in zip(sources, shares, strict=True) if share > 0]
    readers = [_Reader(source) for source, _ in drawn]
    for number in _draws([share for _, share in drawn], seed):
        reader = readers[number]
        if strategy == WITHOUT_REPLACEMENT and reader.was_exhausted:
            continue
        yield reader.take()
        ended = [reader.was_exhausted for reader in readers]
        if all(ended) or (any(ended) and strategy == FIRST_EXHAUSTED):
            return


def mixed_length(lengths: Sequence[int], shares: Sequence[float], strategy: str = ALL_EXHAUSTED) -> int:
    """Return about how many rows a mixture has."""
    drawn = [(length, share) for length, share in zip(lengths, shares, strict=True) if share > 0]
    if strategy == WITHOUT_REPLACEMENT:
        return sum(length for length, _ in drawn)
    ends = [length / share for length, share in drawn]
    return round(min(ends) if strategy == FIRST_EXHAUSTED else max(ends)) if ends else 0


class _Reader(Generic[T]):
    """Rows of one dataset, over and over; the next one is always at hand, so that the last is known to be the last."""

    def __init__(self, source: Callable[[], Iterable[T]]) -> None:
        self._source = source
        self._rows = iter(source())
        self._next = next(self._rows, None)
        self.was_exhausted = False
        if self._next is None:
            raise DataError("a dataset of the mixture has no rows")

    def take(self) -> T:
        """Return the next row."""
        if self._next is None:
            self._rows = iter(self._source())
            self._next = next(self._rows, None)
        taken, self._next = self._next, next(self._rows, None)
        if taken is None:
            raise DataError("a dataset of the mixture has no rows any more")
        self.was_exhausted |= self._next is None
        return taken


def _draws(shares: Sequence[float], seed: int) -> Iterator[int]:
    generator = random.Random(seed)
    numbers = range(len(shares))
    while True:
        yield from generator.choices(numbers, weights=shares, k=1024)
