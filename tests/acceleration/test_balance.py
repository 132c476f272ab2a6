from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuning.acceleration.balance import best_fit, longest_first

Assign = Callable[[Sequence[int], int], list[list[int]]]
LENGTHS = st.lists(st.integers(1, 2000), min_size=1, max_size=80)


def loads(batches: list[list[int]], lengths: Sequence[int]) -> list[int]:
    return [sum(lengths[row] for row in batch) for batch in batches]


@pytest.mark.parametrize("assign", [longest_first, best_fit])
@given(lengths=LENGTHS, num_batches=st.integers(1, 12))
def test_every_row_is_in_one_batch_and_no_batch_is_empty(assign: Assign, lengths: list[int], num_batches: int) -> None:
    batches = assign(lengths, num_batches)
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    assert len(batches) == num_batches
    assert sum(1 for batch in batches if not batch) == max(0, num_batches - len(lengths))


@given(lengths=LENGTHS, num_batches=st.integers(1, 12))
def test_batches_differ_by_no_more_than_the_row_that_came_last(lengths: list[int], num_batches: int) -> None:
    batches = longest_first(lengths, num_batches)
    found = loads(batches, lengths)
    fullest = found.index(max(found))
    if len(batches[fullest]) > 1:
        assert max(found) - min(found) <= min(lengths[row] for row in batches[fullest])


@given(lengths=LENGTHS, num_batches=st.integers(1, 12))
def test_no_batch_is_beyond_its_share_by_more_than_one_row(lengths: list[int], num_batches: int) -> None:
    share = -(-sum(lengths) // num_batches)
    assert max(loads(best_fit(lengths, num_batches), lengths)) <= share + max(lengths)


@pytest.mark.parametrize(("assign", "expected"), [(longest_first, [[0, 3], [1, 2]]), (best_fit, [[0, 3], [1, 2]])])
def test_long_rows_are_put_with_short_ones(assign: Assign, expected: list[list[int]]) -> None:
    assert assign([9, 6, 5, 1], 2) == expected


def test_rows_that_fit_a_share_exactly_fill_it() -> None:
    lengths = [8, 7, 6, 5, 4, 3, 2, 1]
    assert loads(best_fit(lengths, 4), lengths) == [9, 9, 9, 9]
