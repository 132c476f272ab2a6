"""Dashboards of trackers, started by the command that a run's link holds."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ENVIRONMENT = {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "BROWSER": "true",  # Trackio opens the user's
    "GRADIO_ANALYTICS_ENABLED": "False",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight processes that show nothing of a run
}


@contextlib.contextmanager
def dashboard(open_with: str, cwd: Path) -> Iterator[str]:
    """Run the command of a link as it stands, with nothing but a free port added; yields the dashboard's address."""
    words = shlex.split(open_with, comments=True)
    # Trackio takes its port from the environment.
    port = [] if "trackio" in words else ["--host", "127.0.0.1", "--port", "$PORT"]
    with server(["sh", "-c", f"exec env {shlex.join(words)} {' '.join(port)}"], cwd) as address:
        yield address


@contextlib.contextmanager
def server(command: list[str], cwd: Path) -> Iterator[str]:
    """Run a server on a free port while the block lasts; yields its address once it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    environment = {**os.environ, **ENVIRONMENT, "PORT": port, "GRADIO_SERVER_PORT": port}
    log = cwd / f"server-{port}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=cwd, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait_for_answer(f"http://127.0.0.1:{port}", process, log)
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for_answer(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 300
    while time.monotonic() < until:
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(address, timeout=10).close()
            return
        except urllib.error.HTTPError:
            return  # an Aim server has no first page
        except OSError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"no answer from {address}: {log.read_text()}")
