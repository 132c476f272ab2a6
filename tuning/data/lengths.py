"""The distribution of the lengths of rows."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Lengths:
    """A distribution of lengths, tokens."""

    mean: float
    p50: int
    p95: int
    p99: int
    max: int

    @classmethod
    def of(cls, values: Iterable[int]) -> Lengths | None:
        """Summarise lengths by nearest rank; None where there are none."""
        ordered = sorted(values)
        if not ordered:
            return None
        p50, p95, p99 = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.50, 0.95, 0.99))
        return cls(sum(ordered) / len(ordered), p50, p95, p99, ordered[-1])
