from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tuning.trackers.backend import RunInfo
from tuning.trackers.run_files import read_json
from tuning.trackers.tracker_factory import check_trackers, create_tracker
from tuning.trackers.trackio_tracker import _project


def run_of(experiment: str, **options: str) -> RunInfo:
    return RunInfo("r", "n", experiment, Path(), 0.0, options)


@pytest.mark.parametrize(
    ("experiment", "project"),
    [("exp", "exp"), ("my exp/1", "my-exp-1"), ("cpu_system", "cpu_system-runs"), ("registry-x", "registry-x-runs")],
)
def test_an_experiment_becomes_a_name_that_trackio_takes(experiment: str, project: str) -> None:
    assert _project(run_of(experiment)) == project


@pytest.mark.parametrize("name", ["a b", "", "a.b", "my_system", "registry-a", "x_run_artifact_links"])
def test_a_project_that_trackio_does_not_take_is_told_early(name: str) -> None:
    (problem,) = check_trackers({"trackers": "trackio", "trackio_project": name})
    assert problem.path == "tracking.trackio_project"


@pytest.mark.slow
def test_the_names_that_we_refuse_are_those_that_trackio_refuses() -> None:
    from trackio.sqlite_storage import SQLiteStorage

    for ending in ("system", "configs", "traces", *SQLiteStorage._ARTIFACT_PARQUET_TABLES):
        with pytest.raises(ValueError, match="not allowed"):
            SQLiteStorage.validate_project_name(f"x_{ending}")
        assert check_trackers({"trackers": "trackio", "trackio_project": f"x_{ending}"})


@pytest.mark.slow
def test_the_command_in_the_link_finds_the_run(tmp_path: Path) -> None:
    options = {"trackers": "trackio", "experiment": "my exp", "run_name": "the-run", "finish_timeout": 60}
    tracker = create_tracker(options, tmp_path / "a run")
    tracker.track(1.0, "loss", "train", step=1)
    tracker.finish()
    show = read_json(tmp_path / "a run" / "tracking" / "links.json")["trackio"]["open_with"]
    assert show.endswith("trackio show --project my-exp")
    trackio = shlex.quote(str(Path(sys.executable).with_name("trackio")))
    command = show.replace("trackio show", f"{trackio} list metrics --run the-run")
    found = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert "train/loss" in found.stdout, found.stderr
