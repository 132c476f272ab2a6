"""Charts as HTML: an SVG that stretches with its place, labels beside it, and the values for whoever points at it.

The SVG has one unit per ten-thousandth of its width and height and is stretched to any size. Lines keep their width by
`vector-effect`, points are lines of no length with round ends, and labels are text of the page, so that
nothing is distorted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from tuning.report.scale import Point, Scale, number_text, thinned
from tuning.trackers.event_log import number_to_json

_UNITS = 10_000
_MOST_DOTS = 60
"""Series with more points are drawn as a line alone."""


@dataclass(frozen=True)
class Series:
    """One line of a chart; `color` is the number of a colour of the page, from 0."""

    name: str
    points: Sequence[Point]
    color: int


@dataclass(frozen=True)
class Chart:
    """A chart: its title, the unit of its values, its lines, and what the horizontal axis counts."""

    title: str
    unit: str
    series: Sequence[Series]
    along: str = "step"


def draw(chart: Chart) -> str:
    """Draw a chart; one whose series have no points is an empty text."""
    series = [Series(one.name, thinned(one.points), one.color) for one in chart.series if one.points]
    if not series:
        return ""
    across = Scale.over(step for one in series for step, _ in one.points)
    upwards = Scale.over((value for one in series for _, value in one.points), margin=0.06)
    unit = f' <span class="unit">{escape(chart.unit)}</span>' if chart.unit else ""
    lines = "".join(_line(one, across, upwards) for one in series)
    return (
        f'<figure class="chart" data-series="{escape(_as_json(series))}" data-along="{escape(chart.along)}" '
        f'data-x="{across.low!r} {across.high!r}" data-y="{upwards.low!r} {upwards.high!r}">'
        f"<figcaption>{escape(chart.title)}{unit}</figcaption>{_legend(series)}"
        f'<div class="plot"><div class="area" tabindex="0" role="img" aria-label="{escape(_in_words(chart, series))}">'
        f'<svg viewBox="0 0 {_UNITS} {_UNITS}" preserveAspectRatio="none" aria-hidden="true">'
        f"{_grid(upwards)}{lines}</svg>"
        f'<div class="cursor" hidden></div><div class="tip" hidden></div></div>'
        f"{_labels(across, upwards)}</div>"
        f'<p class="along">{escape(chart.along)}</p>{_not_finite(chart)}</figure>'
    )


def _line(series: Series, across: Scale, upwards: Scale) -> str:
    name, color = escape(series.name), series.color
    dots = ""
    if len(series.points) <= _MOST_DOTS:
        finite = [point for point in series.points if math.isfinite(point[1])]
        dots = "".join(f'<path class="dot" d="M{_at(point, across, upwards)}h0"/>' for point in finite)
    path = _path(series.points, across, upwards)
    return f'<g class="series color-{color % 8}" data-name="{name}"><path class="line" d="{path}"/>{dots}</g>'


def _path(points: Sequence[Point], across: Scale, upwards: Scale) -> str:
    """Write the line; a value that is not finite leaves a gap."""
    parts, is_open = [], False
    for point in points:
        if math.isfinite(point[1]):
            parts.append(f"{'L' if is_open else 'M'}{_at(point, across, upwards)}")
        is_open = math.isfinite(point[1])
    return "".join(parts)


def _at(point: Point, across: Scale, upwards: Scale) -> str:
    return f"{across.share(point[0]) * _UNITS:.0f} {(1 - upwards.share(point[1])) * _UNITS:.0f}"


def _grid(upwards: Scale) -> str:
    heights = (f"{(1 - upwards.share(tick)) * _UNITS:.0f}" for tick in upwards.ticks())
    return "".join(f'<path class="grid" d="M0 {height}H{_UNITS}"/>' for height in heights)


def _labels(across: Scale, upwards: Scale) -> str:
    rows = "".join(
        f'<span class="y" style="top:{(1 - upwards.share(tick)) * 100:.2f}%">{number_text(tick)}</span>'
        for tick in upwards.ticks()
    )
    whole = [tick for tick in across.ticks() if tick == int(tick)]
    columns = "".join(
        f'<span class="x" style="left:{across.share(tick) * 100:.2f}%">{number_text(tick)}</span>' for tick in whole
    )
    return f'<div class="ys">{rows}</div><div class="xs">{columns}</div>'


def _legend(series: Sequence[Series]) -> str:
    entries = (
        f'<li><i class="color-{one.color % 8}"></i>{escape(one.name)} <b>{number_text(one.points[-1][1])}</b></li>'
        for one in series
    )
    return f'<ul class="legend">{"".join(entries)}</ul>'


def _in_words(chart: Chart, series: Sequence[Series]) -> str:
    told = (f"{one.name} from {number_text(one.points[0][1])} to {number_text(one.points[-1][1])}" for one in series)
    return f"{chart.title}: {', '.join(told)}. Arrow keys read the values."


def _not_finite(chart: Chart) -> str:
    lost = [(step, one.name) for one in chart.series for step, value in one.points if not math.isfinite(value)]
    if not lost:
        return ""
    first, name = min(lost)
    count = "1 value is" if len(lost) == 1 else f"{len(lost)} values are"
    return f'<p class="warn">{count} not finite, the first in {escape(name)} at {number_text(first)}</p>'


def _as_json(series: Sequence[Series]) -> str:
    plain = [
        {"name": one.name, "points": [[step, number_to_json(value)] for step, value in one.points]} for one in series
    ]
    return json.dumps(plain, separators=(",", ":"))
