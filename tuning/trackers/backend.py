"""What a tracking service has to offer so that a run can be sent to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tuning.errors import Problem
from tuning.trackers.params import Scalar


@dataclass(frozen=True)
class RunInfo:
    """The run as a backend needs to know it; `time` is its start in seconds since 1970."""

    run_id: str
    name: str
    experiment: str
    run_dir: Path
    time: float
    options: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        return self.run_dir / "tracking"


class Point(NamedTuple):
    """One number of one series; `time` in seconds since 1970."""

    name: str
    value: float
    step: int
    epoch: float | None
    time: float


class Dataset(NamedTuple):
    """Data that a run was made from; `columns` maps each column to the JSON type of its values."""

    name: str
    paths: tuple[str, ...]
    sha256: str
    rows: int | None
    columns: Mapping[str, str]

    @property
    def title(self) -> str:
        """Call it by its file, so that runs that share a file share a dataset."""
        return Path(self.paths[0]).name if len(self.paths) == 1 else self.name


class Link(NamedTuple):
    """Where the run is in a backend: its id there, its page if it has one, and the command that opens it."""

    run_id: str
    url: str | None = None
    open_with: str | None = None


class Backend:
    """Send one run to one service; a service overrides what it can hold.

    An instance lives in a process of its own, beside the training. Each method may block and may raise: the sender
    waits and tries again with a new instance, except after a ValueError or TypeError, which say that the service
    refuses this very value. It must be safe to send the same thing twice.
    """

    package = ""
    """The module to import; the run is refused early where it is not installed."""
    extra = ""
    """The extra of this package that installs it."""

    @staticmethod
    def problems(options: Mapping[str, Any]) -> list[Problem]:
        """Check the options of the tracking section, without importing the package or leaving this machine."""
        return []

    def open(self, run: RunInfo, saved_id: str | None) -> Link:
        """Start the run, or go on with the one that `open` returned as `saved_id` earlier."""
        return Link(run.run_id)

    def params(self, flat: Mapping[str, Scalar]) -> None:
        """Add params; no name is ever sent again with another value."""

    def metrics(self, batch: Sequence[Point]) -> None:
        """Add points; a series never has two points for one step."""

    def dataset(self, dataset: Dataset) -> None:
        """Add what the run was made from, for a service that knows datasets; `params` holds the same as text."""

    def artifact(self, path: Path, name: str) -> None:
        """Add a file or folder."""

    def flush(self) -> bool:
        """Wait until everything sent so far is safe in the service; False where only `close` makes sure of that.

        What is not yet safe when this process or the service breaks down is sent again.
        """
        return True

    def close(self, status: str, error: str | None) -> None:
        """End the run: `finished`, `failed`, `killed` or `preempted`, with the error's first line."""

    def release(self) -> None:
        """Let go of a run that goes on."""


def options_of(tracker: str, tracking: Mapping[str, Any]) -> dict[str, Any]:
    """Add to the tracking section what its `tracker_options` hold for one tracker."""
    return {**tracking, **((tracking.get("tracker_options") or {}).get(tracker) or {})}
