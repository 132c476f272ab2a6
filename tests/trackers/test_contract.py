"""What every tracker has to do: all of them at once, each read back with its own reader."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from stored import READERS, Stored, as_kept_by, same_series

from tuning.trackers.params import as_text
from tuning.trackers.replay import read_params, read_series
from tuning.trackers.run_files import read_json
from tuning.trackers.sync import main
from tuning.trackers.tracker import Tracker
from tuning.trackers.tracker_factory import TRACKERS, check_trackers, create_tracker

pytestmark = pytest.mark.slow

NAMES = sorted(READERS)
SECRET = "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz012345"
NATIVE = {
    "finished": {"aim": False, "mlflow": "FINISHED", "tensorboard": 1, "trackio": [], "wandb": "finished"},
    "failed": {"aim": False, "mlflow": "FAILED", "tensorboard": 2, "trackio": ["Run failed"], "wandb": "failed"},
    "preempted": {"aim": False, "mlflow": "KILLED", "tensorboard": 2, "trackio": ["Run preempted"], "wandb": "failed"},
}
"""What each tracker itself calls our states; one that is not listed has no word of its own."""
NATIVE_AFTER_RESUME = {"trackio": ["Run preempted"]}
"""Trackio keeps the alert of the earlier attempt."""
BAD_OPTIONS: dict[str, dict[str, Any]] = {
    "aim": {"aim_remote_server_port": 53800},
    "mlflow": {"mlflow_tracking_uri": "./mlruns"},
    "sqlite": {"tracker_options": {"sqlite": {"path": "."}}},
    "tensorboard": {"tensorboard_dir": __file__},
    "trackio": {"trackio_project": "a project"},
    "wandb": {"wandb_mode": "onlin"},
}
DIGEST = "ab" * 32


@dataclass
class Run:
    """A run folder and what each backend held of it at one moment."""

    folder: Path
    stored: dict[str, Stored]

    @property
    def events(self) -> Path:
        return self.folder / "tracking" / "events.jsonl"


def read(run_dir: Path) -> Run:
    return Run(run_dir, {name: READERS[name](run_dir) for name in NAMES})


def begin(run_dir: Path) -> Tracker:
    return create_tracker({"trackers": NAMES, "experiment": "exp", "finish_timeout": 200}, run_dir)


@pytest.fixture(scope="module")
def finished(new_run_dir: Callable[[], Path], sqlite_tracker: Path) -> Run:
    """A run that uses everything."""
    run_dir = new_run_dir()
    (run_dir / "eval.json").write_text("{}")
    (run_dir / "train.jsonl").write_text('{"text": "x"}')
    (run_dir / "model").mkdir()
    (run_dir / "model" / "weights").write_text("w")
    tracker = begin(run_dir)
    tracker.set_params({"rate": 1e-3, "layers": ["q", "v"], "none": None, "deep": {"flag": True}}, name="config")
    tracker.set_params({"0": {"reason": "x" * 900}}, name="recommendations")
    data = {"path": str(run_dir / "train.jsonl"), "sha256": DIGEST, "rows": 1, "columns": {"text": "string"}}
    tracker.set_params({"training": data, "format": "text"}, name="data")
    tracker.track({"system/cpu_percent": 50.0}, step=7)
    for step in range(1, 21):
        tracker.track({"train/loss": 3.0 / step, "train/learning_rate": 0.1 * step}, step=step)
    tracker.track(math.nan, "odd", "eval", step=20)
    tracker.log_artifact(run_dir / "eval.json")
    tracker.log_artifact(run_dir / "model")
    tracker.set_params({"late": 1}, name="metadata")
    tracker.finish()
    return read(run_dir)


@pytest.fixture(scope="module")
def replayed(finished: Run) -> Run:
    """The same run after its log was sent again from the first record on."""
    for name in NAMES:
        progress = finished.folder / "tracking" / "delivery" / f"{name}.json"
        progress.write_text(f'{{"run_id": "{read_json(progress)["run_id"]}"}}')
    assert main([str(finished.folder)]) == 0
    return read(finished.folder)


@pytest.fixture(scope="module")
def failed(new_run_dir: Callable[[], Path], sqlite_tracker: Path) -> Run:
    """A run that failed and in which secrets were planted."""
    tracker = begin(run_dir := new_run_dir())
    tracker.set_params({"hub_token": SECRET, "args": ["--token", SECRET], "x": {"y": f"see {SECRET}"}}, name="config")
    tracker.set_params({"url": f"https://{SECRET}@host", "json": f'{{"token": "{SECRET}"}}'}, name=f"meta {SECRET}")
    tracker.track(math.inf, "x", step=1)
    tracker.finish("failed", error=RuntimeError(f"cannot log in with {SECRET}\nmore"))
    return read(run_dir)


@pytest.fixture(scope="module")
def preempted(new_run_dir: Callable[[], Path], sqlite_tracker: Path) -> Run:
    """A run that was stopped after six steps, its last checkpoint at the third."""
    return read(train(new_run_dir(), 1, 6, rate=1, state="preempted"))


@pytest.fixture(scope="module")
def resumed(preempted: Run) -> Run:
    """The same run, resumed with another setting."""
    return read(train(preempted.folder, 4, 10, rate=2, state="finished"))


def train(run_dir: Path, first: int, last: int, rate: int, state: str) -> Path:
    tracker = begin(run_dir)
    tracker.set_params({"rate": rate})
    for step in range(first, last + 1):
        tracker.track(1.0 / step, "train/loss", step=step)
    tracker.finish(state)
    return run_dir


@pytest.mark.parametrize("name", NAMES)
def test_params_are_those_of_the_log(finished: Run, name: str) -> None:
    params: dict[str, Any] = read_params(finished.events)
    expected = {key: as_text(value) for key, value in params.items()} if name == "mlflow" else params
    assert len(params) > 5 and finished.stored[name].params == expected


@pytest.mark.parametrize("name", NAMES)
def test_series_are_those_of_the_log(finished: Run, name: str) -> None:
    assert len(finished.stored[name].series) == 4
    assert same_series(finished.stored[name].series, as_kept_by(name, read_series(finished.events)))


@pytest.mark.parametrize("name", NAMES)
def test_a_finished_run_is_one_finished_run(finished: Run, name: str) -> None:
    stored = finished.stored[name]
    assert (stored.num_runs, stored.state, stored.error) == (1, "finished", None)
    assert stored.native_state == NATIVE["finished"].get(name, "finished")


@pytest.mark.parametrize("name", NAMES)
def test_artifacts_arrive(finished: Run, name: str) -> None:
    progress = read_json(finished.folder / "tracking" / "delivery" / f"{name}.json")
    assert (progress["left"], progress["refused"], progress["error"]) == ([], 0, None)
    artifacts = [artifact.replace("_json", ".json") for artifact in finished.stored[name].artifacts]
    assert sorted(artifacts) == ["eval.json", "long_params.json", "model"]


@pytest.mark.parametrize("name", sorted({"aim", "mlflow", "trackio", "wandb"}))
def test_a_dataset_is_an_input_where_the_tracker_knows_such_a_thing(finished: Run, name: str) -> None:
    assert finished.stored[name].datasets == {DIGEST: "training"}


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_the_run(finished: Run, name: str) -> None:
    link = read_json(finished.folder / "tracking" / "links.json")[name]
    assert link["run_id"] and str(finished.folder) in link["open_with"]


@pytest.mark.parametrize("name", NAMES)
def test_sending_a_log_again_changes_nothing(finished: Run, replayed: Run, name: str) -> None:
    before, after = finished.stored[name], replayed.stored[name]
    assert same_series(before.series, after.series)
    assert (after.params, after.num_runs, after.state) == (before.params, 1, "finished")
    assert after.datasets == before.datasets


@pytest.mark.parametrize("name", NAMES)
def test_a_failed_run_shows_the_first_line_of_its_error(failed: Run, name: str) -> None:
    stored = failed.stored[name]
    assert (stored.state, stored.error) == ("failed", "RuntimeError: cannot log in with [redacted]")
    assert stored.native_state == NATIVE["failed"].get(name, "failed")


@pytest.mark.parametrize("name", NAMES)
def test_infinite_numbers_are_kept_where_the_backend_can(failed: Run, name: str) -> None:
    value = failed.stored[name].series["x"][0][1]
    assert value > 1e308 if name == "mlflow" else value == math.inf


def test_nothing_that_is_written_holds_a_secret(failed: Run) -> None:
    files = [path for path in failed.folder.rglob("*") if path.is_file()]
    assert len(files) > 10 and not [path for path in files if SECRET.encode() in path.read_bytes()]


@pytest.mark.parametrize("name", NAMES)
def test_a_preempted_run_is_shown_as_preempted(preempted: Run, name: str) -> None:
    stored = preempted.stored[name]
    assert (stored.state, stored.native_state) == ("preempted", NATIVE["preempted"].get(name, "preempted"))


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_goes_on_in_the_same_run(resumed: Run, name: str) -> None:
    stored = resumed.stored[name]
    series = {"train/loss": [(step, 1.0 / step) for step in range(1, 11)]}
    assert stored.series == as_kept_by(name, series)
    assert (stored.num_runs, stored.state, stored.native_state) == (
        1,
        "finished",
        NATIVE_AFTER_RESUME.get(name, NATIVE["finished"].get(name, "finished")),
    )
    assert {key: int(value) for key, value in stored.params.items()} == {"params.rate": 1, "changed.1.params.rate": 2}


def test_every_tracker_that_is_known_is_held_to_this(sqlite_tracker: Path) -> None:
    assert {*TRACKERS._builtin, "sqlite"} == set(NAMES) == set(BAD_OPTIONS)


@pytest.mark.parametrize("name", NAMES)
def test_bad_options_are_refused_before_anything_starts(sqlite_tracker: Path, name: str) -> None:
    (problem,) = check_trackers({"trackers": name, **BAD_OPTIONS[name]})
    assert problem.path.startswith("tracking.") and check_trackers({"trackers": name}) == []
