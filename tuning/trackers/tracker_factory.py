"""Names of trackers, a cheap check of their options, and the one call that starts tracking."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tuning.errors import MissingExtraError, Problem, UserError
from tuning.registry import Registry
from tuning.trackers.backend import Backend, options_of
from tuning.trackers.tracker import Tracker

TRACKERS: Registry[type[Backend]] = Registry(
    "tracker",
    {
        "aim": "tuning.trackers.aimstack_tracker:AimstackBackend",
        "mlflow": "tuning.trackers.mlflow_tracker:MLflowBackend",
        "tensorboard": "tuning.trackers.tensorboard_tracker:TensorboardBackend",
        "trackio": "tuning.trackers.trackio_tracker:TrackioBackend",
        "wandb": "tuning.trackers.wandb_tracker:WandbBackend",
    },
    "tuning.trackers",
)


_PLACES = ("aim_repo", "mlflow_tracking_uri", "tensorboard_dir", "trackio_dir", "wandb_dir")
"""Options that may be paths."""


def tracker_names(value: str | Iterable[str] | None) -> list[str]:
    """List the trackers that are asked for, each once: `"aim,mlflow"`, a list, `"none"` or None."""
    items = value.split(",") if isinstance(value, str) else value or ()
    names = [str(item).strip() for item in items]
    return list(dict.fromkeys(name for name in names if name.lower() not in ("", "none")))


def check_trackers(tracking: Mapping[str, Any]) -> list[Problem]:
    """Check names, packages and options without importing a package or leaving this machine."""
    problems = []
    for name in tracker_names(tracking.get("trackers")):
        try:
            backend = TRACKERS.load(name)
        except (UserError, ImportError) as error:
            problems.append(Problem("tracking.trackers", f"expected names of trackers; {error}", value=name))
            continue
        if not (isinstance(backend, type) and issubclass(backend, Backend)):
            expected = f"the package that brings '{name}' leads to no subclass of Backend"
            problems.append(Problem("tracking.trackers", expected, value=name))
            continue
        problems += _package_problems(name, backend) or backend.problems(options_of(name, tracking))
    return problems + _timeout_problems(tracking)


def create_tracker(tracking: Mapping[str, Any], run_dir: Path, *, rank: int = 0) -> Tracker:
    """Start tracking a run, or go on with the run whose log the folder holds; other ranks record nothing.

    Raises:
        UserError: an unknown tracker.
        OSError: the run folder cannot be written to.
    """
    if rank != 0:
        return Tracker()
    from tuning.trackers.event_log_tracker import EventLogTracker  # nothing else here records anything

    names = tracker_names(tracking.get("trackers"))
    targets = {name: target_of(name) for name in names}
    return EventLogTracker(",".join(names) or None, _absolute(tracking), run_dir=Path(run_dir), targets=targets)


def _package_problems(name: str, backend: type[Backend]) -> list[Problem]:
    problems = []
    if backend.package and importlib.util.find_spec(backend.package) is None:
        missing = MissingExtraError(f"the tracker '{name}'", backend.package, backend.extra or name)
        problems.append(Problem("tracking.trackers", str(missing).rstrip("."), value=name))
    if backend.__module__ == "__main__" or "<locals>" in backend.__qualname__:
        expected = (
            f"expected the class of '{name}' at the top of a module that can be imported: another process uses it"
        )
        problems.append(Problem("tracking.trackers", expected, value=name))
    return problems


def _timeout_problems(tracking: Mapping[str, Any]) -> list[Problem]:
    timeout = tracking.get("finish_timeout")
    if timeout is None or (isinstance(timeout, (int, float)) and timeout >= 0):
        return []
    return [Problem("tracking.finish_timeout", "expected a number of seconds, 0 or more", value=timeout)]


def target_of(name: str) -> str:
    """Return where another process can import the backend called `name` from, as `module:Class`.

    Raises:
        UserError: nothing is registered under that name.
    """
    backend = TRACKERS.load(name)
    return f"{backend.__module__}:{backend.__qualname__}"


def _absolute(tracking: Mapping[str, Any]) -> dict[str, Any]:
    """Write places relative to the working directory in full, because a later replay may start anywhere."""
    options = dict(tracking)
    for key in _PLACES:
        if options.get(key):
            options[key] = _absolute_place(str(options[key]))
    return options


def _absolute_place(place: str) -> str:
    if place.startswith("sqlite:///") and not place.startswith(("sqlite:////", "sqlite:///:")):
        return f"sqlite:///{Path(place.removeprefix('sqlite:///')).absolute()}"
    if ":" in place.split("/", maxsplit=1)[0] or place == "databricks":
        return place
    return str(Path(place).expanduser().absolute())
