from __future__ import annotations

from collections import Counter

import pytest

from tuning.recommender.sampling import reservoir


@pytest.mark.parametrize("count", [0, 1, 9, 10])
def test_a_short_stream_is_kept_whole(count: int) -> None:
    kept, counted = reservoir(range(count), 10)
    assert (sorted(kept), counted) == (list(range(count)), count)


def test_a_long_stream_is_counted_and_sampled_without_repetition() -> None:
    kept, counted = reservoir(iter(range(10_000)), 100)
    assert (len(set(kept)), counted) == (100, 10_000)


def test_the_same_seed_draws_the_same_sample() -> None:
    assert reservoir(range(1000), 10, seed=3) == reservoir(range(1000), 10, seed=3)
    assert reservoir(range(1000), 10, seed=3) != reservoir(range(1000), 10, seed=4)


def test_early_and_late_items_have_equal_chances() -> None:
    drawn = Counter(item // 10 for seed in range(2000) for item in reservoir(range(50), 5, seed)[0])
    assert all(count == pytest.approx(2000, rel=0.1) for count in drawn.values())
