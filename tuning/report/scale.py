"""Scales of a chart: where a value stands between two edges, and the round numbers that label an axis."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Point = tuple[float, float]
"""Step and value."""

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_MOST_POINTS = 800
"""Per series; more than a screen has columns."""


@dataclass(frozen=True)
class Scale:
    """A linear scale from `low` to `high`."""

    low: float
    high: float

    @classmethod
    def over(cls, values: Iterable[float], margin: float = 0.0) -> Scale:
        """Make a scale over all finite values, widened on both sides by a share of their range."""
        finite = [value for value in values if math.isfinite(value)]
        if not finite:
            return cls(0.0, 1.0)
        low, high = min(finite), max(finite)
        if low == high:
            around = abs(low) * 0.5 or 0.5
            return cls(low - around, high + around)
        extra = (high * margin) - (low * margin)
        wide = cls(low - extra, high + extra)
        return wide if math.isfinite(wide.low) and math.isfinite(wide.high) else cls(low, high)

    def share(self, value: float) -> float:
        """Return where a value stands: 0 at the low edge, 1 at the high one."""
        # Halves, because the whole range of the largest numbers is none that a float can hold.
        return (value / 2 - self.low / 2) / (self.high / 2 - self.low / 2)

    def ticks(self, count: int = 4) -> list[float]:
        """Choose about `count` round numbers within the scale."""
        rough = self.high / count - self.low / count
        if not math.isfinite(rough) or rough <= 0.0:
            return [self.low]
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * power for factor in _STEPS if factor * power >= rough * 0.999)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [number * step for number in range(first, last + 1)]


def number_text(value: float) -> str:
    """Write a number of an axis or a table as short as it can be read."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "-∞"
    if value and (abs(value) < 1e-3 or abs(value) >= 1e6):
        return f"{value:.3g}".replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")
    return f"{value:.4f}".rstrip("0").rstrip(".") if abs(value) < 1000 else f"{value:,.0f}"


def thinned(points: Sequence[Point], most: int = _MOST_POINTS) -> list[Point]:
    """Leave out points of a long series so that its shape stays: of each stretch the lowest and the highest remain."""
    if len(points) <= most:
        return list(points)
    size = math.ceil(len(points) / (most // 2))
    kept = []
    for start in range(0, len(points), size):
        stretch = points[start : start + size]
        finite = [point for point in stretch if math.isfinite(point[1])] or [stretch[0]]
        kept += sorted({min(finite, key=lambda point: point[1]), max(finite, key=lambda point: point[1])})
    return sorted({*kept, points[0], points[-1]}, key=lambda point: point[0])
