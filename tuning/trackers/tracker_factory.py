"""Names of trackers, a cheap check of their options, and the one call that starts tracking."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tuning.errors import MissingExtraError, Problem, UserError
from tuning.registry import Registry
from tuning.trackers.backend import Backend, options_of
from tuning.trackers.tracker import Tracker

logger = logging.getLogger(__name__)

TRACKERS: Registry[type[Backend] | type[Tracker]] = Registry(
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
        if not (isinstance(backend, type) and issubclass(backend, Backend | Tracker)):
            expected = f"the package that brings '{name}' leads to no subclass of Backend or Tracker"
            problems.append(Problem("tracking.trackers", expected, value=name))
            continue
        problems += _problems_of(name, backend, options_of(name, tracking))
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
    for name in names:
        _tell_of_callback(name)
    targets = {name: target_of(name) for name in names}
    return EventLogTracker(",".join(names) or None, _absolute(tracking), run_dir=Path(run_dir), targets=targets)


def _problems_of(name: str, kind: type[Backend] | type[Tracker], options: Mapping[str, Any]) -> list[Problem]:
    if not issubclass(kind, Backend):
        return list(_not_importable(name, kind))
    return [*_missing_package(name, kind), *_not_importable(name, kind)] or kind.problems(options)


def _missing_package(name: str, backend: type[Backend]) -> Iterator[Problem]:
    if backend.package and importlib.util.find_spec(backend.package) is None:
        missing = MissingExtraError(f"the tracker '{name}'", backend.package, backend.extra or name)
        yield Problem("tracking.trackers", str(missing).rstrip("."), value=name)


def _not_importable(name: str, kind: type[Any]) -> Iterator[Problem]:
    if kind.__module__ == "__main__" or "<locals>" in kind.__qualname__:
        expected = (
            f"expected the class of '{name}' at the top of a module that can be imported: another process uses it"
        )
        yield Problem("tracking.trackers", expected, value=name)


def _tell_of_callback(name: str) -> None:
    kind = TRACKERS.load(name)
    if issubclass(kind, Tracker) and kind.get_hf_callback is not Tracker.get_hf_callback:
        logger.warning("tracker '%s': get_hf_callback is not asked; what the trainer logs comes to track", name)


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
