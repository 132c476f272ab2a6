from __future__ import annotations

import json
import re
from html import unescape

import pytest

from tuning.report.charts import Chart, Series, draw

POINTS = [(1.0, 3.0), (2.0, 1.0), (3.0, 2.0)]


def drawn(*points: tuple[float, float], name: str = "training") -> str:
    return draw(Chart("Loss", "", [Series(name, points, 0)]))


def test_each_point_has_a_dot_where_it_belongs() -> None:
    dots = re.findall(r'class="dot" d="M(\d+) (\d+)h0"', drawn(*POINTS))
    across = [int(x) for x, _ in dots]
    down = [int(y) for _, y in dots]
    assert across == [0, 5000, 10000]
    assert down[0] < down[2] < down[1] and down[0] + down[1] == pytest.approx(10_000, abs=2)


def test_the_values_stand_in_the_chart_as_they_are() -> None:
    found = re.search(r'data-series="(.*?)"', drawn(*POINTS))
    assert found and json.loads(unescape(found[1])) == [{"name": "training", "points": [list(one) for one in POINTS]}]


def test_a_value_that_is_not_finite_is_a_gap_and_is_told() -> None:
    chart = drawn((1.0, 3.0), (2.0, float("nan")), (3.0, 2.0), (4.0, float("inf")), (5.0, 1.0))
    (line,) = re.findall(r'class="line" d="(.*?)"', chart)
    assert line.count("M") == 3 and chart.count('class="dot"') == 3
    assert "2 values are not finite, the first in training at 2" in chart


def test_a_chart_without_points_is_left_out() -> None:
    assert drawn() == "" == draw(Chart("Loss", "", []))


def test_a_long_series_is_a_line_without_dots() -> None:
    assert 'class="dot"' not in drawn(*((float(step), 1.0) for step in range(100)))


def test_names_are_no_html() -> None:
    hostile = '"><script>alert(1)</script>'
    chart = draw(Chart(hostile, hostile, [Series(hostile, POINTS, 0)], along=hostile))
    assert "<script" not in chart and '"><' not in unescape(chart).replace(hostile, "")[:20]
