from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stored import read_tensorboard

from tuning.trackers.backend import Point, RunInfo
from tuning.trackers.tensorboard_tracker import TensorboardBackend, read_points

pytestmark = pytest.mark.slow


def opened(folder: Path, run_id: str = "f" * 32, saved_id: str | None = None) -> TensorboardBackend:
    backend = TensorboardBackend()
    options = {"tensorboard_dir": str(folder)}
    backend.open(RunInfo(run_id, "my run", "exp", folder.parent / "run", 1000.0, options), saved_id)
    return backend


def points(first: int, last: int) -> list[Point]:
    return [Point("train/loss", 1.0 / step, step, None, 1000.0 + step) for step in range(first, last + 1)]


@pytest.fixture
def tensorboard(tmp_path: Path) -> Iterator[str]:
    """Serve the folder `tb` with TensorBoard as it is started by a user; returns its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["--logdir", str(tmp_path / "tb"), "--host", "127.0.0.1", "--port", str(port), "--reload_interval", "1"]
    command = [str(Path(sys.executable).with_name("tensorboard")), *words]
    server = subprocess.Popen(command, stdout=-3, stderr=-3, start_new_session=True)
    yield f"http://127.0.0.1:{port}/data/"
    os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def get(url: str, seconds: float = 60) -> Any:
    """Ask a server that may still be starting until it has an answer that is not empty."""
    until = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if found := json.load(answer):
                    return found
        except OSError:
            pass
        assert time.monotonic() < until, f"no answer from {url}"
        time.sleep(0.3)


def test_tensorboard_itself_shows_series_texts_and_hyperparameters(tmp_path: Path, tensorboard: str) -> None:
    backend = opened(tmp_path / "tb")
    backend.params({"config.rate": 0.1})
    backend.metrics(points(1, 3))
    backend.close("failed", "out of memory")
    (run,) = get(f"{tensorboard}plugin/scalars/tags")
    where = urllib.parse.urlencode({"run": run, "tag": "train/loss"})
    assert [step for _, step, _ in get(f"{tensorboard}plugin/scalars/scalars?{where}")] == [1, 2, 3]
    assert {"params/config", "state", "error"} <= set(get(f"{tensorboard}plugin/text/tags")[run])
    tags = get(f"{tensorboard}plugins_listing")
    assert tags["hparams"]["enabled"] and run.startswith("exp/my run-")


def test_runs_of_one_name_in_one_folder_stay_apart(tmp_path: Path) -> None:
    for letter in "ab":
        opened(tmp_path / "tb", run_id=letter * 32).close("finished", None)
    assert read_tensorboard(tmp_path / "tb").num_runs == 2


def test_a_point_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    first = opened(tmp_path / "tb")
    first.metrics(points(1, 5))
    first.release()
    second = opened(tmp_path / "tb", saved_id=f"exp/my run-{'f' * 6}")
    second.metrics(points(3, 8))
    second.close("finished", None)
    assert [step for step, _ in read_tensorboard(tmp_path / "tb").series["train/loss"]] == list(range(1, 9))


def test_a_file_that_was_cut_short_costs_only_what_was_cut(tmp_path: Path) -> None:
    backend = opened(tmp_path / "tb")
    backend.metrics(points(1, 5))
    backend.flush()
    (file,) = (path for path in (tmp_path / "tb").rglob("events.out.*") if not path.name.endswith(".session"))
    os.truncate(file, file.stat().st_size - 10)
    again = opened(tmp_path / "tb")
    again.metrics(points(1, 6))
    again.flush()
    assert sorted(point.step for point in read_points(file.parent) if point.name) == [1, 2, 3, 4, 5, 6]


def test_what_tensorboards_table_cannot_hold_stands_in_the_texts(tmp_path: Path) -> None:
    backend = opened(tmp_path / "tb")
    backend.params({"a": None, "b": 2**60, "c": "x = y", "d": True})
    backend.close("finished", None)
    assert read_tensorboard(tmp_path / "tb").params == {"a": None, "b": 2**60, "c": "x = y", "d": True}
