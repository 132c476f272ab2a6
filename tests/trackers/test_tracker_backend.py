"""A `Tracker` of one's own, registered by name, gets what a run records."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from lines_tracker import LinesTracker

from tuning.trackers.backend import Point, RunInfo
from tuning.trackers.tracker import Tracker
from tuning.trackers.tracker_backend import TrackerBackend
from tuning.trackers.tracker_factory import TRACKERS, check_trackers, create_tracker

TRACKERS.register("lines")(LinesTracker)


def test_a_tracker_of_four_functions_is_called_beside_the_run(
    run_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"trackers": ["lines"], "tracker_options": {"lines": {"path": str(tmp_path / "lines")}}}
    assert check_trackers(options) == []
    with caplog.at_level(logging.WARNING):
        tracker = create_tracker({**options, "finish_timeout": 60}, run_dir)
    assert "get_hf_callback is not asked" in caplog.text
    tracker.set_params({"rows": 3, "by": {"hand": 1}}, name="data")
    tracker.track(0.5, "accuracy", "eval", step=2)
    tracker.finish()
    lines = [json.loads(line) for line in (tmp_path / "lines").read_text().splitlines()]
    assert lines[0] == ["init", "lines", "run"] and lines[-1] == ["finish", "finished"]
    assert ["set_params", {"rows": 3, "by.hand": 1}, "data"] in lines
    assert ["track", 0.5, "accuracy", "eval"] in lines


def test_a_tracker_that_takes_steps_gets_them() -> None:
    seen: list[Any] = []

    class Steps(Tracker):
        def track(self, metric: Any, name: Any = None, stage: Any = None, *, step: Any = None) -> None:
            seen.append((metric, name, stage, step))

    backend = TrackerBackend(Steps, "steps")
    backend.open(RunInfo("id", "run", "experiment", Path("run"), 0.0, {}), None)
    backend.metrics([Point("train/loss", 2.5, 7, 0.1, 0.0), Point("rate", 1.0, 8, 0.1, 0.0)])
    assert seen == [(2.5, "loss", "train", 7), (1.0, "rate", None, 8)]


def test_a_tracker_that_no_other_process_can_import_is_refused() -> None:
    class Local(Tracker):
        pass

    TRACKERS.register("local")(Local)
    (problem,) = check_trackers({"trackers": "local"})
    assert "at the top of a module that can be imported" in str(problem)
