"""A `Tracker` of a user's own as a backend: its methods are called beside the training, with what was recorded."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuning.trackers.backend import Backend, Link, Point, RunInfo
from tuning.trackers.params import Scalar
from tuning.trackers.tracker import Tracker


class TrackerBackend(Backend):
    """Pass on what a run records to a tracker of this class, which is called `name`.

    The tracker's `config` holds the tracking section, what `tracker_options` have for it, and the run: `run_id`,
    `run_name`, `experiment`, `run_dir`. After a failure a new instance is made, and what it has not had is sent to it.
    """

    def __init__(self, kind: type[Tracker], name: str) -> None:
        self._kind, self._name = kind, name

    def open(self, run: RunInfo, saved_id: str | None) -> Link:
        """Make the tracker."""
        facts = {"run_id": run.run_id, "run_name": run.name, "experiment": run.experiment, "run_dir": str(run.run_dir)}
        self.tracker = self._kind(self._name, {**run.options, **facts})
        self._takes_step = _takes(self.tracker.track, "step")
        return Link(run.run_id)

    def params(self, flat: Mapping[str, Scalar]) -> None:
        """Set params by groups, which are the first parts of their names: `config`, `recommendations`, `metadata` …"""
        groups: dict[str, dict[str, Scalar]] = defaultdict(dict)
        for name, value in flat.items():
            group, _, rest = name.partition(".")
            groups[group if rest else "params"][rest or group] = value
        for group, values in groups.items():
            self.tracker.set_params(values, group)

    def metrics(self, batch: Sequence[Point]) -> None:
        """Track each number under its name, with the stage that stands in front of it."""
        for point in batch:
            stage, _, name = point.name.rpartition("/")
            step: dict[str, Any] = {"step": point.step} if self._takes_step else {}
            self.tracker.track(point.value, name, stage or None, **step)

    def artifact(self, path: Path, name: str) -> None:
        """Log a file or folder."""
        self.tracker.log_artifact(path, name)

    def close(self, status: str, error: str | None) -> None:
        """Finish the tracker's run."""
        self.tracker.finish(status, error)


def _takes(function: Any, name: str) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return any(each.name == name or each.kind is each.VAR_KEYWORD for each in parameters)
