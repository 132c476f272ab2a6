"""Read an event log as the one run that it tells of, whatever number of attempts it took.

Two rules make the same log mean the same everywhere, however often it is read:
the first value of a series for a step counts, and the first value of a param counts; a later, different value of a
param is kept beside it as `changed.1.NAME`, `changed.2.NAME`, …
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tuning.trackers.backend import Point
from tuning.trackers.event_log import Record, read_records
from tuning.trackers.params import Scalar, clean_key, flatten, prefixes, shorten

ENDED = ("finished", "failed", "killed", "preempted")


class Artifact(NamedTuple):
    """A file or folder of the run and its name in the trackers."""

    path: Path
    name: str


@dataclass
class Delivery:
    """What some records add to a run."""

    num_records: int = 0
    params: dict[str, Scalar] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    artifacts: list[Artifact] = field(default_factory=list)


class Replay:
    """Follow a log from its first record on and tell what each piece of it adds."""

    def __init__(self) -> None:
        self.seq = 0
        self.attempt = 0
        self.run: Record | None = None
        """The newest attempt's record."""
        self.first_run: Record | None = None
        self.end: Record | None = None
        """The newest attempt's final state, once it has one."""
        self.num_repeated = 0
        self.long_params: dict[str, str] = {}
        """The full text of every param that was shortened."""
        self._params: dict[str, Scalar] = {}
        self._parents: set[str] = set()
        self._steps: dict[str, set[int]] = {}

    def take(self, records: Sequence[Record], after: int = 0) -> Delivery:
        """Take in records and return what those numbered above `after` add."""
        delivery = Delivery()
        unwanted = Delivery()
        for record in records:
            self._take_one(record, delivery if record["seq"] > after else unwanted)
            self.seq = max(self.seq, record["seq"])
        delivery.num_records = sum(record["seq"] > after for record in records)
        return delivery

    def _take_one(self, record: Record, delivery: Delivery) -> None:
        kind = record.get("type")
        if kind == "metrics":
            self._take_metrics(record, delivery)
        elif kind == "params":
            self._take_params(record, delivery)
        elif kind == "artifact":
            delivery.artifacts.append(Artifact(Path(record["path"]), clean_key(record["name"])))
        elif kind == "run":
            self.run, self.end, self.attempt = record, None, self.attempt + 1
            self.first_run = self.first_run or record
        elif kind == "state" and record.get("state") in ENDED:
            self.end = record

    def _take_metrics(self, record: Record, delivery: Delivery) -> None:
        step = int(record.get("step") or 0)
        for name, value in record["values"].items():
            seen = self._steps.setdefault(name, set())
            if step in seen:
                self.num_repeated += 1
                continue
            seen.add(step)
            delivery.points.append(Point(name, number_from_json(value), step, record.get("epoch"), record["time"]))

    def _take_params(self, record: Record, delivery: Delivery) -> None:
        for key, value in flatten(record["values"], record.get("name") or "").items():
            short = shorten(value)
            key = self._free_key(key, short)
            if key in self._params:
                continue
            self._params[key] = delivery.params[key] = short
            self._parents.update(prefixes(key))
            if short != value:
                self.long_params[key] = str(value)

    def _free_key(self, key: str, value: Scalar) -> str:
        """Return the name that a value may be kept under, which may hold this very value already."""
        number, candidate = 0, key
        while self._is_taken(candidate, value):
            number += 1
            candidate = clean_key(f"changed.{number}.{key}")
        return candidate

    def _is_taken(self, key: str, value: Scalar) -> bool:
        if key in self._params:
            return not _same(self._params[key], value)
        # Trackers with nested params cannot hold a value where another param has its parent, or the reverse.
        return key in self._parents or any(prefix in self._params for prefix in prefixes(key))


def read_series(events: Path) -> dict[str, list[tuple[int, float]]]:
    """Load every series of a run as (step, value) pairs in the order they were recorded."""
    series: dict[str, list[tuple[int, float]]] = {}
    for point in Replay().take(list(read_records(events))).points:
        series.setdefault(point.name, []).append((point.step, point.value))
    return series


def read_params(events: Path) -> dict[str, Scalar]:
    """Load the params of a run under the names that they have in every tracker."""
    return Replay().take(list(read_records(events))).params


def read_state(events: Path) -> str:
    """Return `finished`, `failed`, `killed`, `preempted`, or `running` where no end is recorded."""
    replay = Replay()
    replay.take(list(read_records(events)))
    return "running" if replay.end is None else str(replay.end["state"])


def number_from_json(value: Any) -> float | int:
    """Undo `number_to_json`."""
    return float(value) if isinstance(value, str) else value


def _same(old: Scalar, new: Scalar) -> bool:
    return type(old) is type(new) and old == new
