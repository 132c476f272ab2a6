from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from jsonl_backend import JsonlBackend

from tuning.trackers.event_log_tracker import EventLogTracker
from tuning.trackers.file_lock import file_lock
from tuning.trackers.tracker_factory import TRACKERS, create_tracker

TRACKERS.register("jsonl")(JsonlBackend)


@dataclass
class Stored:
    """What a backend holds of a run folder, read back with the backend's own reader."""

    params: dict[str, Any] = field(default_factory=dict)
    series: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    state: str | None = None
    error: str | None = None
    native_state: Any = None
    num_runs: int = 0
    artifacts: list[str] = field(default_factory=list)


def read_aim(repo_dir: Path) -> Stored:
    from aim import Repo
    from aim.sdk.index_manager import RepoIndexManager

    from tuning.trackers.params import flatten

    repo = Repo(str(repo_dir))
    hashes = repo.list_all_runs()
    RepoIndexManager.get_index_manager(repo).index(hashes[0])
    run = repo.get_run(hashes[0])
    params = flatten(run.get(...))
    series = {}
    for metric in run.metrics():
        frame = metric.dataframe()
        series[metric.name] = sorted(zip(frame["step"].tolist(), frame["value"].tolist(), strict=True))
    own = {key: params.pop(key, None) for key in ("state", "error", "run_dir")}
    artifacts = [key.removeprefix("artifacts.") for key in params if key.startswith("artifacts.")]
    params = {key: value for key, value in params.items() if not key.startswith("artifacts.")}
    return Stored(params, series, own["state"], own["error"], run.active, len(hashes), artifacts)


def read_mlflow(uri: str) -> Stored:
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    run = runs[0]
    series = {
        key: [(metric.step, metric.value) for metric in client.get_metric_history(run.info.run_id, key)]
        for key in run.data.metrics
    }
    artifacts = [item.path for item in client.list_artifacts(run.info.run_id)]
    tags = run.data.tags
    return Stored(
        run.data.params, series, tags["state"], tags.get("error"), run.info.status, len(runs), sorted(artifacts)
    )


def read_wandb(folder: Path) -> Stored:
    from tuning.trackers.params import flatten

    stored, ids = Stored(), set()
    for session in sorted((folder / "wandb").glob("offline-run-*")):
        summary = json.loads(_leet(session, "--summary", "--json"))
        ids.add(summary["run_id"])
        stored.params.update(flatten(summary["config"]))
        stored.state, stored.error = summary["summary"].get("state"), summary["summary"].get("error")
        stored.native_state = summary["state"]
        for line in _leet(session, "--json").splitlines():
            _read_wandb_record(json.loads(line), stored)
    stored.num_runs = len(ids)
    return stored


def _read_wandb_record(record: Mapping[str, Any], stored: Stored) -> None:
    row = record.get("history", {}).get("item", {})
    for name, value in row.items():
        if not name.startswith("_") and name != "train/global_step":
            stored.series.setdefault(name, []).append((row["train/global_step"], float(value)))


def _leet(session: Path, *options: str) -> str:
    command = [str(Path(sys.executable).parent / "wandb"), "leet", "inspect", str(session), *options]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def read_jsonl(folder: Path) -> list[Any]:
    return [json.loads(line) for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]


def same_series(left: Mapping[str, list[Any]], right: Mapping[str, list[Any]]) -> bool:
    """Compare series, counting NaN as equal to itself."""

    def plain(series: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
        return {
            name: sorted((step, "NaN" if math.isnan(value) else value) for step, value in points)
            for name, points in series.items()
        }

    return plain(left) == plain(right)


@pytest.fixture(scope="session")
def mlflow_db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make one empty MLflow database for all tests of all workers: its schema takes ten seconds."""
    shared = tmp_path_factory.getbasetemp().parent / "mlflow-template"
    shared.mkdir(exist_ok=True)
    ready = shared / "ready.db"
    with file_lock(shared / "lock"):
        if not ready.exists():
            from mlflow import MlflowClient

            draft = shared / "draft.db"
            MlflowClient(f"sqlite:///{draft}").search_experiments()
            draft.rename(ready)
    return ready


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture(scope="session")
def new_run_dir(tmp_path_factory: pytest.TempPathFactory, mlflow_db: Path) -> Callable[[], Path]:
    """Make run folders that hold an empty MLflow database already."""

    def new_run_dir() -> Path:
        run_dir = tmp_path_factory.mktemp("backends") / "run"
        (run_dir / "tracking").mkdir(parents=True)
        shutil.copy(mlflow_db, run_dir / "tracking" / "mlflow.db")
        return run_dir

    return new_run_dir


@pytest.fixture
def service(tmp_path: Path) -> Path:
    """The folder of the fourth-party service."""
    folder = tmp_path / "service"
    folder.mkdir()
    return folder


@pytest.fixture
def start(run_dir: Path, service: Path) -> Iterator[Callable[..., EventLogTracker]]:
    """Start a run tracked by the fourth-party service; it is finished at the end of the test at the latest."""
    started: list[EventLogTracker] = []

    def start(**options: Any) -> EventLogTracker:
        config = {"trackers": "jsonl", "jsonl_dir": str(service), "sender_patience": 5, "finish_timeout": 20, **options}
        tracker = create_tracker(config, run_dir)
        assert isinstance(tracker, EventLogTracker)
        started.append(tracker)
        return tracker

    yield start
    for file in ("down", "frozen", "crash"):
        (service / file).unlink(missing_ok=True)
    for tracker in started:
        tracker.finish()
