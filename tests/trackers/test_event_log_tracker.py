from __future__ import annotations

import logging
import os
import statistics
import time
from pathlib import Path
from typing import Any

import pytest

from tuning.trackers.event_log import read_records
from tuning.trackers.event_log_tracker import EventLogTracker
from tuning.trackers.replay import read_params, read_series, read_state
from tuning.trackers.tracker_factory import create_tracker


@pytest.fixture
def tracker(run_dir: Path) -> EventLogTracker:
    tracker = create_tracker({"experiment": "exp"}, run_dir)
    assert isinstance(tracker, EventLogTracker)
    return tracker


def records(tracker: EventLogTracker, kind: str) -> list[dict[str, Any]]:
    return [record for record in read_records(tracker.files.events) if record["type"] == kind]


def test_a_number_is_recorded_under_its_stage_and_name(tracker: EventLogTracker) -> None:
    tracker.track(0.5, "loss", "eval", step=7)
    assert read_series(tracker.files.events) == {"eval/loss": [(7, 0.5)]}


def test_a_mapping_is_one_record_at_the_latest_step(tracker: EventLogTracker) -> None:
    tracker.global_step = 3
    tracker.track({"a": 1, "b": float("nan")}, stage="x")
    assert records(tracker, "metrics")[0]["values"] == {"x/a": 1, "x/b": "NaN"}
    assert records(tracker, "metrics")[0]["step"] == 3


def test_what_is_no_number_is_left_out_with_one_warning(tracker: EventLogTracker, caplog: Any) -> None:
    for _ in range(3):
        tracker.track({"good": 1, "bad": "text"})
    assert list(read_series(tracker.files.events)) == ["good"] and caplog.text.count("bad") == 1


def test_params_stand_under_their_name_without_secrets(tracker: EventLogTracker) -> None:
    tracker.set_params({"hub_token": "abc", "rate": 1}, name="config")
    tracker.set_params({"x": Path("y")})
    tracker.set_params({"top": 1}, name=None)
    params = read_params(tracker.files.events)
    assert params == {"config.hub_token": "[redacted]", "config.rate": 1, "params.x": "y", "top": 1}


def test_params_under_a_secrets_name_are_taken_out(tracker: EventLogTracker) -> None:
    tracker.set_params({"a": "b"}, name="credentials")
    tracker.set_params("hunter2", name="password")
    assert set(read_params(tracker.files.events).values()) == {"[redacted]"}


def test_no_call_raises_whatever_it_is_given(tracker: EventLogTracker, caplog: Any) -> None:
    tracker.track(object(), object(), object(), step="x")  # type: ignore[arg-type]
    tracker.track({"a": 1}, step="x")  # type: ignore[arg-type]
    tracker.set_params(object(), name=object())  # type: ignore[arg-type]
    tracker.log_artifact(object())  # type: ignore[arg-type]
    tracker.finish(status=object(), error=object())  # type: ignore[arg-type]
    assert "training goes on" in caplog.text


@pytest.mark.parametrize("state", ["finished", "failed", "killed", "preempted"])
def test_the_final_state_is_recorded_once(tracker: EventLogTracker, state: str) -> None:
    tracker.finish(state, error=ValueError("first line\nsecond line"))
    tracker.finish("finished")
    assert read_state(tracker.files.events) == state
    assert records(tracker, "state")[0]["error"] == "ValueError: first line"


def test_what_is_recorded_after_finish_is_kept_with_a_warning(tracker: EventLogTracker, caplog: Any) -> None:
    tracker.finish()
    tracker.track(1, "late")
    assert read_series(tracker.files.events) == {"late": [(0, 1)]} and "tune sync" in caplog.text


def test_a_resumed_run_keeps_its_id_and_name(tracker: EventLogTracker, run_dir: Path) -> None:
    tracker.finish("preempted")
    create_tracker({"experiment": "other", "run_name": "other"}, run_dir).finish()
    first, second = records(tracker, "run")
    assert all(first[key] == second[key] for key in ("run_id", "name", "experiment"))


def test_runs_get_names_of_their_own(tmp_path: Path) -> None:
    trackers = [create_tracker({"experiment": "exp"}, tmp_path / name) for name in "ab"]
    names = [records(tracker, "run")[0]["name"] for tracker in trackers]  # type: ignore[arg-type]
    assert names[0] != names[1] and all(name.startswith("exp-") for name in names)


def test_two_runs_in_one_process_share_nothing(tmp_path: Path) -> None:
    one, two = create_tracker({}, tmp_path / "1"), create_tracker({}, tmp_path / "2")
    one.track(1, "a")
    two.set_params({"b": 2})
    assert read_series(tmp_path / "2/tracking/events.jsonl") == {} == read_params(tmp_path / "1/tracking/events.jsonl")


def test_the_log_holds_no_password_of_an_address(run_dir: Path) -> None:
    create_tracker({"mlflow_tracking_uri": "https://me:hunter2@host"}, run_dir).finish()
    assert "hunter2" not in (run_dir / "tracking/events.jsonl").read_text()


def test_the_environment_is_left_alone(start: Any) -> None:
    before = dict(os.environ)
    start().finish()
    assert dict(os.environ) == before


def test_tracking_ten_numbers_takes_less_than_a_tenth_of_a_millisecond(tracker: EventLogTracker) -> None:
    values = {f"train/metric_{number}": number * 0.5 for number in range(10)}
    seconds = []
    for step in range(500):
        begin = time.perf_counter()
        tracker.track(values, step=step)
        seconds.append(time.perf_counter() - begin)
    assert statistics.median(seconds) < 1e-4


def test_a_full_folder_only_warns(run_dir: Path, caplog: Any) -> None:
    tracker = create_tracker({}, run_dir)
    assert isinstance(tracker, EventLogTracker)
    tracker._log.close()
    tracker.files.events.unlink()
    tracker.files.events.mkdir()
    with caplog.at_level(logging.WARNING):
        tracker.track(1, "a")
        tracker.track(2, "b")
        tracker.finish()
    assert caplog.text.count("records wait") == 1 and "3 records could not be written" in caplog.text
