"""The tracker interface; the base class is the tracker that does nothing."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any


class Tracker:
    """Record nothing; a tracker that records something overrides what it needs.

    No method raises after `__init__`, and every method may be called on every rank and in any order.
    """

    def __init__(self, name: str | None = None, tracker_config: Mapping[str, Any] | None = None) -> None:
        self.config: Mapping[str, Any] = {} if tracker_config is None else tracker_config
        self._name = "None" if name is None else name

    def get_hf_callback(self) -> Any | None:
        """Return the `TrainerCallback` that records what a Trainer logs, or None where nothing is recorded."""
        return None

    def track(
        self,
        metric: float | Mapping[str, float],
        name: str | None = None,
        stage: str | None = None,
        *,
        step: int | None = None,
    ) -> None:
        """Record one number called `name`, or a mapping of names to numbers.

        `stage` is put in front of each name (`eval` and `loss` make `eval/loss`). Without `step` the Trainer's
        latest global step counts.
        """

    def set_params(self, params: Any, name: str | None = "params") -> None:
        """Record a nested mapping of settings or facts under `name`, at any time of the run."""

    def log_artifact(self, path: str | PathLike[str], name: str | None = None) -> None:
        """Record a file or folder; `name` is what it is called in the trackers, by default its own name."""

    def finish(self, status: str = "finished", error: str | BaseException | None = None) -> None:
        """End the run as `finished`, `failed`, `killed` or `preempted`."""
