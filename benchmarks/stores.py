"""The places that runs are sent to: how to prepare, start, break and repair each, and how to read it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.read_stores import Held

ROOT = Path(__file__).resolve().parent.parent
_STAND_INS = ROOT / "tests" / "trackers"
_LONGEST_START_SECONDS = 90.0
_POLL_SECONDS = 0.1
ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "TOKENIZERS_PARALLELISM": "false",
    "WANDB_API_KEY": "a" * 40,
    "WANDB_ERROR_REPORTING": "false",
}
"""No network beyond this machine; the key is what W&B's client asks for before it talks to any server."""


def environment() -> dict[str, str]:
    """Return the environment of every process that is started here."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, **ENVIRONMENT, "PATH": path, "PYTHONPATH": str(ROOT)}


def wait_for(condition: Callable[[], Any], seconds: float) -> bool:
    """Wait until something is so; False when it has not become so in time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def run_python(*words: str, timeout: float = 300.0) -> subprocess.CompletedProcess[str]:
    """Run Python with the environment of the stores."""
    command = [sys.executable, *words]
    return subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=timeout, check=False
    )


class Store:
    """A folder or database on this machine that a tracker writes into by itself."""

    title = ""
    tracker = ""
    reader = ""
    is_server = False

    def __init__(self, folder: Path, mlflow_database: Path | None = None) -> None:
        self.folder = folder
        self._mlflow_database = mlflow_database

    @property
    def options(self) -> Mapping[str, Any]:
        """The tracking options that lead here."""
        return {}

    def prepare(self) -> None:
        """Make what has to be there before the first run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.reader == "mlflow" and self._mlflow_database is not None:
            shutil.copy(self._mlflow_database, self.folder / "mlflow.db")

    def start(self) -> bool:
        """Bring a server up; True when it answers."""
        return True

    def kill(self) -> None:
        """End a server without a word."""

    def freeze(self) -> None:
        """Stop a server so that it takes connections and answers nothing."""

    def thaw(self) -> None:
        """Let a frozen server go on."""

    def read(self) -> Held:
        """Read in a process of its own what is held now."""
        done = run_python("-m", "benchmarks.read_stores", self.reader, str(self.folder))
        if done.returncode != 0:
            raise RuntimeError(f"{self.title} cannot be read: {done.stderr[-2000:]}")
        return Held(**json.loads(done.stdout.splitlines()[-1]))


class AimLocal(Store):
    title, tracker, reader = "Aim local", "aim", "aim"

    @property
    def options(self) -> Mapping[str, Any]:
        return {"aim_repo": str(self.folder / "repo")}


class MlflowSqlite(Store):
    title, tracker, reader = "MLflow sqlite", "mlflow", "mlflow"

    @property
    def options(self) -> Mapping[str, Any]:
        return {"mlflow_tracking_uri": f"sqlite:///{self.folder / 'mlflow.db'}"}


class WandbOffline(Store):
    title, tracker, reader = "W&B offline", "wandb", "wandb"

    @property
    def options(self) -> Mapping[str, Any]:
        return {"wandb_mode": "offline", "wandb_dir": str(self.folder)}


class Server(Store):
    """A server on a port of its own."""

    is_server = True

    def __init__(self, folder: Path, mlflow_database: Path | None = None) -> None:
        super().__init__(folder, mlflow_database)
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def command(self) -> list[str]:
        """The words that start it."""
        return []

    def start(self) -> bool:
        with (self.folder.parent / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command, stdout=log, stderr=log, start_new_session=True, env=environment()
            )
        return wait_for(self._answers, _LONGEST_START_SECONDS)

    def kill(self) -> None:
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            return False
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0


class AimServer(Server):
    title, tracker, reader = "Aim server", "aim", "aim"

    @property
    def options(self) -> Mapping[str, Any]:
        return {"aim_remote_server_ip": "127.0.0.1", "aim_remote_server_port": self.port}

    @property
    def command(self) -> list[str]:
        aim = str(Path(sys.executable).parent / "aim")
        return [aim, "server", "--repo", str(self.folder / "repo"), "--host", "127.0.0.1", "--port", str(self.port)]

    def prepare(self) -> None:
        super().prepare()
        code = "import sys; from aim import Repo; Repo.from_path(sys.argv[1], init=True)"
        run_python("-c", code, str(self.folder / "repo")).check_returncode()


class MlflowServer(Server):
    title, tracker, reader = "MLflow server", "mlflow", "mlflow"

    @property
    def options(self) -> Mapping[str, Any]:
        return {"mlflow_tracking_uri": f"http://127.0.0.1:{self.port}"}

    @property
    def command(self) -> list[str]:
        return [sys.executable, str(_STAND_INS / "mlflow_server.py"), str(self.folder), str(self.port)]


class WandbOnline(Server):
    title, tracker, reader = "W&B online", "wandb", "wandb_server"

    @property
    def options(self) -> Mapping[str, Any]:
        own = {"wandb_mode": "online", "wandb_base_url": f"http://127.0.0.1:{self.port}"}
        return {**own, "wandb_dir": str(self.folder.parent / "sessions")}

    @property
    def command(self) -> list[str]:
        return [sys.executable, str(_STAND_INS / "wandb_server.py"), str(self.folder), str(self.port)]


STORES: dict[str, type[Store]] = {
    "aim-local": AimLocal,
    "aim-server": AimServer,
    "mlflow-sqlite": MlflowSqlite,
    "mlflow-server": MlflowServer,
    "wandb-offline": WandbOffline,
    "wandb-online": WandbOnline,
}


def make_mlflow_database(path: Path) -> Path:
    """Make an empty database once for all runs: its schema takes about ten seconds."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        code = "import sys; from mlflow import MlflowClient; MlflowClient(sys.argv[1]).search_experiments()"
        run_python("-c", code, f"sqlite:///{draft}").check_returncode()
        draft.rename(path)
    return path


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
