"""A real server for the tests of the HTTP API: uvicorn in a process of its own, on a free port of this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

PROJECT = Path(__file__).resolve().parent.parent.parent
START_SECONDS = 60.0


@contextmanager
def served(roots: list[Path], cwd: Path, environ: Mapping[str, str] | None = None) -> Iterator[str]:
    """Serve the given folders; yields the address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([*filter(None, [(environ or {}).get("PYTHONPATH")]), str(PROJECT)]),
        "TUNING_RECOMMENDER_ROOTS": os.pathsep.join(map(str, roots)),
    }
    command = [sys.executable, "-m", "uvicorn", "tuning.recommender.api:app", "--port", str(port)]
    log = cwd / "uvicorn.log"
    with log.open("wb") as output:
        server = subprocess.Popen(command, cwd=cwd, env=environment, stdout=output, stderr=output)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_for(address, server, log)
        yield address
    finally:
        server.terminate()
        server.wait(timeout=20)


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            if httpx.get(f"{address}/health", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(f"no answer within {START_SECONDS} s: {log.read_text()}")
