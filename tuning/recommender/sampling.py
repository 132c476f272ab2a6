"""Draw a fair sample from a stream of unknown length in one pass."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def reservoir(items: Iterable[T], size: int, seed: int = 0) -> tuple[list[T], int]:
    """Draw up to `size` items, each with equal chance, in random order; also count all items.

    Source: Li, Reservoir-Sampling Algorithms of Time Complexity O(n(1 + log(N/n))), 1994, Algorithm L: few random
    numbers, however long the stream.
    """
    rng, stream = random.Random(seed), iter(items)
    kept = list(itertools.islice(stream, size))
    weight, chosen, count = 1.0, len(kept) - 1, len(kept)
    weight, chosen = _skip(rng, weight, chosen, size)
    for index, item in enumerate(stream, start=len(kept)):
        count = index + 1
        if index == chosen:
            kept[rng.randrange(size)] = item
            weight, chosen = _skip(rng, weight, chosen, size)
    rng.shuffle(kept)
    return kept, count


def _skip(rng: random.Random, weight: float, chosen: int, size: int) -> tuple[float, int]:
    """Say which item is taken next."""
    weight *= math.exp(math.log(1.0 - rng.random()) / size)
    gap = math.log(1.0 - rng.random()) / math.log1p(-weight) if weight < 1.0 else 0.0
    return weight, chosen + math.floor(gap) + 1
