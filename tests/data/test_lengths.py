from __future__ import annotations

from tuning.data.lengths import Lengths


def test_lengths_are_summarised_by_nearest_rank() -> None:
    assert Lengths.of(range(1, 101)) == Lengths(50.5, 50, 95, 99, 100)
    assert Lengths.of([7]) == Lengths(7.0, 7, 7, 7, 7)
    assert Lengths.of([]) is None
