"""Servers of the three trackers that die while a run goes on."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from stored import Stored, read_aim, read_mlflow

from tuning.trackers.run_files import read_json
from tuning.trackers.sync import main
from tuning.trackers.tracker_factory import create_tracker

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent


class Server:
    """A tracker's server on a port of its own, and how to track to it and to read what it holds."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def options(self) -> dict[str, Any]:
        address = f"http://127.0.0.1:{self.port}"
        return {
            "aim": {"aim_remote_server_ip": "127.0.0.1", "aim_remote_server_port": self.port},
            "mlflow": {"mlflow_tracking_uri": address},
            "wandb": {"wandb_mode": "online", "wandb_base_url": address},
        }[self.name]

    def start(self) -> None:
        command = [sys.executable, str(HERE / f"{self.name}_server.py"), str(self.folder), str(self.port)]
        if self.name == "aim":
            aim = [str(Path(sys.executable).with_name("aim")), "server", "--repo", str(self.folder / "repo")]
            command = [*aim, "--host", "127.0.0.1", "--port", str(self.port)]
        with (self.folder / "server.log").open("ab") as log:
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            environment = {**os.environ, "PATH": path}
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=environment)
        wait_for(self.answers, 90)

    def answers(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def read(self) -> Stored:
        if self.name == "aim":
            return read_aim(self.folder / "repo")
        if self.name == "mlflow":
            return read_mlflow(f"sqlite:///{self.folder / 'mlflow.db'}")
        histories = json.loads((self.folder / "histories.json").read_text())
        rows = next(iter(histories.values()))
        series = {"x": [(row["train/global_step"], row["x"]) for row in rows]}
        return Stored(series=series, state="finished", num_runs=len(histories))


def wait_for(condition: Callable[[], Any], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.1)


@pytest.fixture(params=["aim", "mlflow", "wandb"])
def server(request: pytest.FixtureRequest, new_run_dir: Callable[[], Path], monkeypatch: Any) -> Iterator[Server]:
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    server = Server(request.param, new_run_dir() / "tracking")
    if request.param == "aim":
        from aim import Repo

        Repo.from_path(str(server.folder / "repo"), init=True)
    yield server
    server.kill()


def test_a_server_that_dies_costs_nothing_but_a_replay(server: Server, run_dir: Path) -> None:
    server.start()
    tracker = create_tracker(
        {"trackers": server.name, "finish_timeout": 1, "sender_patience": 2, **server.options}, run_dir
    )
    for step in range(1, 21):
        tracker.track(1.0 / step, "x", step=step)
    wait_for(lambda: read_json(run_dir / f"tracking/delivery/{server.name}.json").get("sent", 0) > 20, 60)
    server.kill()
    begin = time.monotonic()
    for step in range(21, 41):
        tracker.track(1.0 / step, "x", step=step)
    tracker.finish()
    assert time.monotonic() - begin < 3
    server.start()
    wait_for(lambda: main([str(run_dir)]) == 0, 120)
    stored = server.read()
    assert stored.series["x"] == [(step, 1.0 / step) for step in range(1, 41)]
    assert (stored.num_runs, stored.state) == (1, "finished")
