from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tuning.report.scale import Scale, number_text, thinned

FLOATS = st.floats(allow_nan=True, allow_infinity=True)


def test_a_value_stands_where_it_should() -> None:
    scale = Scale.over([2.0, 4.0, 10.0])
    assert [scale.share(value) for value in (2.0, 4.0, 10.0)] == [0.0, 0.25, 1.0]


def test_ticks_are_round_and_within() -> None:
    assert Scale(0.0, 20.0).ticks() == [0.0, 5.0, 10.0, 15.0, 20.0]
    assert Scale(1.27, 1.93).ticks() == pytest.approx([1.4, 1.6, 1.8])


@given(st.lists(FLOATS, max_size=8))
def test_every_scale_has_room_for_all_its_values(values: list[float]) -> None:
    scale = Scale.over(values, margin=0.06)
    finite = [value for value in values if math.isfinite(value) and abs(value) < 1e300]
    assert all(-1e-6 <= scale.share(value) <= 1 + 1e-6 for value in finite)
    assert len(scale.ticks()) <= 12


def test_a_single_value_stands_in_the_middle() -> None:
    assert Scale.over([3.0]).share(3.0) == 0.5 == Scale.over([0.0]).share(0.0)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.25, "0.25"), (2e-5, "2e-5"), (1234.5, "1,234"), (1e7, "1e7"), (math.nan, "NaN"), (-math.inf, "-∞")],
)
def test_numbers_are_written_short(value: float, text: str) -> None:
    assert number_text(value) == text


def test_a_long_series_keeps_its_ends_and_its_peaks() -> None:
    points = [(float(step), 1.0) for step in range(10_000)]
    points[5_555] = (5_555.0, 99.0)
    points[7_777] = (7_777.0, -99.0)
    kept = thinned(points)
    assert len(kept) <= 802 and {points[0], points[-1], points[5_555], points[7_777]} <= set(kept)
    assert kept == sorted(kept)
