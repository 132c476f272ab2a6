"""Batches of rows whose lengths are balanced across ranks, in the place of a data loader's own batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from torch.utils.data import BatchSampler, DataLoader, Sampler

from tuning.acceleration.balance import best_fit, longest_first

_ROWS_COUNTED_AT_ONCE = 10_000
STEPS_IN_A_WINDOW = 16
"""Optimizer steps among which a token budget moves rows: few enough that the order of the rows stays random."""


class BalancedBatchSampler(BatchSampler):
    """Draw the rows that the sampler draws, in batches of about the same number of tokens.

    One batch after the other belongs to one rank after the other, as accelerate deals them out. There are as many
    batches as without balance, and their rows depend on the sampler's order alone; so all ranks agree, and a resumed
    run finds the batches that it left. `accelerate` takes batches of any size where `batch_size` is None.
    """

    def __init__(
        self,
        sampler: Sampler[int] | Iterable[int],
        lengths: np.ndarray[Any, Any],
        rows_per_batch: int,
        num_ranks: int,
        batches_per_step: int,
        drop_last: bool = False,
        by_budget: bool = False,
    ) -> None:
        """Balance batches of `rows_per_batch` rows on average; `batches_per_step` counts those of all ranks.

        lengths: tokens of each row of the dataset. `by_budget` moves rows between steps, too.
        """
        self.sampler: Any = sampler
        self.lengths, self.rows_per_batch, self.num_ranks = lengths, rows_per_batch, num_ranks
        self.batches_per_step, self.by_budget = batches_per_step, by_budget
        self.batch_size = None  # pyright: ignore[reportAttributeAccessIssue]
        self.drop_last = drop_last

    def __len__(self) -> int:
        return self._num_rows(len(self.sampler)) // self.rows_per_batch if self._evens else self._num_unevened()

    def __iter__(self) -> Iterator[list[int]]:
        rows = self._evened(list(self.sampler))
        window = self.rows_per_batch * self.batches_per_step * (STEPS_IN_A_WINDOW if self.by_budget else 1)
        for start in range(0, len(rows), window):
            yield from self._balanced(rows[start : start + window])

    def _balanced(self, rows: list[int]) -> list[list[int]]:
        num_batches = -(-len(rows) // self.rows_per_batch)
        assign = best_fit if self.by_budget else longest_first
        batches = assign([int(self.lengths[row]) for row in rows], num_batches)
        if self.by_budget:  # in the order of their first rows, which the sampler drew at random
            batches.sort()
        return [[rows[place] for place in batch] for batch in batches]

    @property
    def _evens(self) -> bool:
        return self.drop_last or self.num_ranks > 1

    def _num_unevened(self) -> int:
        return -(-len(self.sampler) // self.rows_per_batch)

    def _num_rows(self, drawn: int) -> int:
        """Return how many rows fill whole batches of all ranks, as accelerate does: cut, or else filled up."""
        if self.drop_last:
            drawn -= drawn % self.rows_per_batch
            return drawn - drawn % (self.rows_per_batch * self.num_ranks)
        return drawn + -drawn % (self.rows_per_batch * self.num_ranks) if self._evens else drawn

    def _evened(self, rows: list[int]) -> list[int]:
        wanted = self._num_rows(len(rows))
        return (rows * -(-wanted // max(len(rows), 1)))[:wanted]


def balanced(loader: DataLoader[Any], num_ranks: int, batches_per_step: int, by_budget: bool) -> DataLoader[Any]:
    """Make the same data loader with balanced batches."""
    sampler = BalancedBatchSampler(
        loader.sampler,
        row_lengths(loader.dataset),
        int(loader.batch_size or 1),
        num_ranks,
        batches_per_step,
        loader.drop_last,
        by_budget,
    )
    return with_batches(loader, sampler, loader.dataset)


def with_batches(loader: DataLoader[Any], batches: BatchSampler, dataset: Any) -> DataLoader[Any]:
    """Make the same data loader with other batches, of another dataset."""
    kept = ("num_workers", "collate_fn", "pin_memory", "timeout", "worker_init_fn", "multiprocessing_context")
    kept += ("generator", "prefetch_factor", "persistent_workers", "pin_memory_device", "in_order")
    return DataLoader(dataset, batch_sampler=batches, **{name: getattr(loader, name) for name in kept})


def row_lengths(dataset: Any) -> np.ndarray[Any, Any]:
    """Count the tokens of each row of a dataset; a table of Arrow is counted without making Python objects."""
    if not hasattr(dataset, "with_format"):
        return np.array([len(row["input_ids"]) for row in dataset], np.int64)
    counts = [np.zeros(0, np.int64)]
    for batch in dataset.select_columns(["input_ids"]).with_format("arrow").iter(_ROWS_COUNTED_AT_ONCE):
        counts += [chunk.value_lengths().to_numpy(zero_copy_only=False) for chunk in batch["input_ids"].chunks]
    return np.concatenate(counts)
