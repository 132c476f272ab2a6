from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tuning.errors import UserError
from tuning.trackers.backend import Backend
from tuning.trackers.event_log_tracker import EventLogTracker
from tuning.trackers.tracker import Tracker
from tuning.trackers.tracker_factory import TRACKERS, check_trackers, create_tracker, tracker_names


@pytest.mark.parametrize(
    ("value", "names"),
    [(None, []), ("none", []), ("None", []), ("", []), ("aim", ["aim"]), ("aim, mlflow", ["aim", "mlflow"]),
     (["aim", "none", "aim"], ["aim"]), ((), [])],
)  # fmt: skip
def test_trackers_are_named_in_several_ways(value: Any, names: list[str]) -> None:
    assert tracker_names(value) == names


@pytest.mark.parametrize(
    ("tracking", "path"),
    [
        ({"trackers": "wandv"}, "tracking.trackers"),
        ({"trackers": "aim", "aim_remote_server_port": 53800}, "tracking.aim_remote_server_ip"),
        ({"trackers": "aim", "aim_remote_server_ip": "host"}, "tracking.aim_remote_server_port"),
        ({"trackers": "aim", "aim_repo": "x", "aim_url": "aim://h:1"}, "tracking.aim_url"),
        ({"trackers": "mlflow", "mlflow_tracking_uri": "file:///tmp/x"}, "tracking.mlflow_tracking_uri"),
        ({"trackers": "mlflow", "mlflow_tracking_uri": "./mlruns"}, "tracking.mlflow_tracking_uri"),
        ({"trackers": "wandb", "wandb_mode": "onlin"}, "tracking.wandb_mode"),
        ({"finish_timeout": -1}, "tracking.finish_timeout"),
    ],
)
def test_bad_options_are_told_before_anything_starts(tracking: dict[str, Any], path: str) -> None:
    assert [problem.path for problem in check_trackers(tracking)] == [path]


@pytest.mark.parametrize(
    "tracking",
    [
        {},
        {"trackers": "none"},
        {"trackers": ["aim", "wandb", "mlflow"]},
        {"trackers": "aim", "aim_remote_server_ip": "host", "aim_remote_server_port": 53800},
        {"trackers": "mlflow", "mlflow_tracking_uri": "http://localhost:5000"},
        {"trackers": "aim", "mlflow_tracking_uri": "file:///unused"},
    ],
)
def test_good_options_have_no_problem(tracking: dict[str, Any]) -> None:
    assert check_trackers(tracking) == []


def test_a_misspelt_tracker_is_told_with_the_nearest_name() -> None:
    assert "'wandb'" in str(check_trackers({"trackers": "wandv"})[0])


def test_a_missing_package_is_told_with_its_extra() -> None:
    class Absent(Backend):
        package = "no_such_package_anywhere"
        extra = "absent"

    TRACKERS.register("absent")(Absent)
    assert "pip install 'tuning[absent]'" in str(check_trackers({"trackers": "absent"})[0])


def test_checking_imports_no_tracker_and_no_torch() -> None:
    code = (
        "import sys; from tuning.trackers.tracker_factory import check_trackers;"
        "check_trackers({'trackers': 'aim,wandb,mlflow'});"
        "print([m for m in ('aim', 'wandb', 'mlflow', 'torch', 'transformers') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True).stdout == "[]\n"


def test_other_ranks_record_nothing(run_dir: Path) -> None:
    tracker = create_tracker({"trackers": "aim"}, run_dir, rank=1)
    assert type(tracker) is Tracker and not run_dir.exists()


def test_without_a_tracker_the_event_log_is_still_written(run_dir: Path) -> None:
    tracker = create_tracker({}, run_dir)
    assert isinstance(tracker, EventLogTracker)
    tracker.finish()
    assert not (run_dir / "tracking" / "sender.log").exists()


def test_an_unknown_tracker_cannot_be_created(run_dir: Path) -> None:
    with pytest.raises(UserError, match="Did you mean"):
        create_tracker({"trackers": "mlfow"}, run_dir)


def test_relative_places_are_kept_in_full(run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tracker = create_tracker({"aim_repo": "x", "mlflow_tracking_uri": "sqlite:///m.db", "wandb_dir": "w/x"}, run_dir)
    tracker.finish()
    assert tracker.config["aim_repo"] == str(tmp_path / "x")
    assert tracker.config["mlflow_tracking_uri"] == f"sqlite:///{tmp_path}/m.db"
    assert tracker.config["wandb_dir"] == str(tmp_path / "w" / "x")
