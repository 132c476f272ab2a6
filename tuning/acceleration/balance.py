"""Put rows of different lengths into batches of about the same number of tokens. Pure functions over lengths."""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Sequence


def longest_first(lengths: Sequence[int], num_batches: int) -> list[list[int]]:
    """Assign each row to the batch with the fewest tokens, the longest row first; returns positions in `lengths`.

    No batch is empty while there are as many rows as batches. Rows keep their order inside of a batch.

    Source: R. L. Graham, Bounds on multiprocessing timing anomalies (1969): at most 4/3 of the smallest possible
    largest batch.
    """
    batches: list[list[int]] = [[] for _ in range(num_batches)]
    loads = [(0, number) for number in range(num_batches)]
    for row in _longest_first(lengths):
        load, number = heapq.heappop(loads)
        batches[number].append(row)
        heapq.heappush(loads, (load + lengths[row], number))
    return [sorted(batch) for batch in batches]


def best_fit(lengths: Sequence[int], num_batches: int) -> list[list[int]]:
    """Fill batches up to an equal share of the tokens: each row goes where it leaves the least room.

    The longest rows begin the batches, so that none is empty while there are as many rows as batches; a row that fits
    nowhere goes where most room is left. Rows keep their order inside of a batch.
    """
    budget = -(-sum(lengths) // num_batches)
    order = _longest_first(lengths)
    batches = [[row] for row in order[:num_batches]]
    rooms = sorted((budget - lengths[batch[0]], number) for number, batch in enumerate(batches))
    for row in order[num_batches:]:
        place = bisect_left(rooms, (lengths[row], -1))
        room, number = rooms.pop(place if place < len(rooms) else -1)
        batches[number].append(row)
        insort(rooms, (room - lengths[row], number))
    return [sorted(batch) for batch in batches] + [[] for _ in range(num_batches - len(batches))]


def _longest_first(lengths: Sequence[int]) -> list[int]:
    return sorted(range(len(lengths)), key=lambda row: (-lengths[row], row))
