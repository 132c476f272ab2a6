from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuning.data.mixing import ALL_EXHAUSTED, FIRST_EXHAUSTED, WITHOUT_REPLACEMENT, mixed, mixed_length
from tuning.errors import DataError


def numbered(name: str, count: int) -> Callable[[], list[str]]:
    return lambda: [f"{name}{number}" for number in range(count)]


def test_realised_shares_are_within_one_percent_of_the_given_ones_over_10_000_rows() -> None:
    sources = [numbered("a", 7_000), numbered("b", 2_000), numbered("c", 3_000)]
    counts = Counter(row[0] for row in islice(mixed(sources, [0.6, 0.15, 0.25], seed=3), 10_000))
    assert counts["a"] / 10_000 == pytest.approx(0.6, abs=0.01)
    assert counts["b"] / 10_000 == pytest.approx(0.15, abs=0.01)
    assert counts["c"] / 10_000 == pytest.approx(0.25, abs=0.01)


def test_the_order_is_the_same_for_a_seed_and_another_for_another() -> None:
    sources = [numbered("a", 50), numbered("b", 50)]
    assert list(mixed(sources, [0.5, 0.5], seed=1)) == list(mixed(sources, [0.5, 0.5], seed=1))
    assert list(mixed(sources, [0.5, 0.5], seed=1)) != list(mixed(sources, [0.5, 0.5], seed=2))


@settings(max_examples=50, deadline=None)
@given(lengths=st.tuples(st.integers(1, 30), st.integers(1, 30)), seed=st.integers(0, 100))
def test_a_mixture_ends_with_its_first_exhausted_dataset_or_its_last(lengths: tuple[int, int], seed: int) -> None:
    sources = [numbered("a", lengths[0]), numbered("b", lengths[1])]
    whole = {row for source in sources for row in source()}
    first = list(mixed(sources, [0.5, 0.5], seed, FIRST_EXHAUSTED))
    assert len(first) == len(set(first))
    assert f"a{lengths[0] - 1}" in first or f"b{lengths[1] - 1}" in first
    assert set(mixed(sources, [0.5, 0.5], seed, ALL_EXHAUSTED)) == whole
    assert sorted(mixed(sources, [0.5, 0.5], seed, WITHOUT_REPLACEMENT)) == sorted(whole)


def test_rows_of_a_dataset_keep_their_order_and_start_anew_after_the_last() -> None:
    rows = list(mixed([numbered("a", 2), numbered("b", 40)], [0.5, 0.5], seed=0))
    assert [row for row in rows if row[0] == "a"][:5] == ["a0", "a1", "a0", "a1", "a0"]
    assert [row for row in rows if row[0] == "b"] == numbered("b", 40)()


@pytest.mark.slow
@pytest.mark.parametrize("strategy", [ALL_EXHAUSTED, FIRST_EXHAUSTED, WITHOUT_REPLACEMENT])
def test_the_strategies_end_where_those_of_datasets_end(strategy: Any) -> None:
    from datasets import Dataset, interleave_datasets

    sets = [Dataset.from_dict({"n": numbered(name, count)()}) for name, count in (("a", 300), ("b", 500))]
    theirs = len(interleave_datasets(sets, [0.3, 0.7], seed=1, stopping_strategy=strategy))
    ours = len(list(mixed([numbered("a", 300), numbered("b", 500)], [0.3, 0.7], 1, strategy)))
    assert ours == pytest.approx(theirs, rel=0.15)


def test_a_share_of_nothing_is_never_drawn() -> None:
    assert list(mixed([numbered("a", 3), numbered("b", 0)], [1.0, 0.0], seed=0)) == ["a0", "a1", "a2"]


def test_a_dataset_without_rows_is_refused() -> None:
    with pytest.raises(DataError, match="no rows"):
        list(mixed([numbered("a", 3), numbered("b", 0)], [0.5, 0.5], seed=0))


@pytest.mark.parametrize(
    ("strategy", "length"), [(ALL_EXHAUSTED, 1000), (FIRST_EXHAUSTED, 200), (WITHOUT_REPLACEMENT, 600)]
)
def test_the_length_of_a_mixture_is_told_without_drawing_it(strategy: str, length: int) -> None:
    sources = [numbered("a", 100), numbered("b", 500)]
    assert mixed_length([100, 500], [0.5, 0.5], strategy) == length
    assert len(list(mixed(sources, [0.5, 0.5], 0, strategy))) == pytest.approx(length, rel=0.15)
