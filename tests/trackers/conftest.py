from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from jsonl_backend import JsonlBackend

from tuning.trackers.event_log_tracker import EventLogTracker
from tuning.trackers.file_lock import file_lock
from tuning.trackers.tracker_factory import TRACKERS, create_tracker

TRACKERS.register("jsonl")(JsonlBackend)


def read_jsonl(folder: Path) -> list[Any]:
    return [json.loads(line) for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]


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


@pytest.fixture(scope="session")
def sqlite_tracker_package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the package of `examples/tracker` as a user would, into a folder of its own."""
    made = tmp_path_factory.mktemp("sqlite_tracker")
    source = Path(__file__).parents[2] / "examples" / "tracker"
    # The build leaves files beside its source.
    copied = shutil.copytree(source, made / "source", ignore=shutil.ignore_patterns("__pycache__"))
    offline = ["--no-index", "--no-deps", "--no-build-isolation", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *offline, "--target", str(made / "site"), str(copied)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return made / "site"


@pytest.fixture(scope="module")
def sqlite_tracker(sqlite_tracker_package: Path) -> Iterator[Path]:
    """Have the tracker of `examples/tracker` installed while the tests of a module run."""
    sys.path.insert(0, str(sqlite_tracker_package))
    yield sqlite_tracker_package
    sys.path.remove(str(sqlite_tracker_package))


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
