"""How fast the recommender answers over HTTP, on a warm server: `python -m benchmarks.api`.

A real uvicorn, on this machine, one request at a time. `another value`: the model and the rows are known, and the
configuration differs each time, so that all rules run; `the same`: the whole answer is known. `cold`: model and rows
are new, and a process of their own looks at them. The last column compares with a request that does nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx

ROOT = Path(__file__).resolve().parent.parent
QUICKSTART = ROOT / "examples" / "quickstart"
MOST_P50_MS = 20.0
_START_SECONDS = 60.0


class Times(NamedTuple):
    """Times of one kind of request, milliseconds."""

    name: str
    count: int
    p50: float
    p95: float

    @classmethod
    def of(cls, name: str, seconds: Sequence[float]) -> Times:
        """Summarise measured times by nearest rank."""
        ordered = sorted(seconds)
        p95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
        return cls(name, len(ordered), 1000 * statistics.median(ordered), 1000 * p95)


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Serve one folder; yields the address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "tuning.recommender.api:app",
        "--port",
        str(port),
        "--log-level",
        "error",
    ]
    environment = {**os.environ, "TUNING_RECOMMENDER_ROOTS": str(folder), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*command, "--no-access-log"], cwd=ROOT, env=environment)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(address)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=20)


def measure(address: str, folder: Path, count: int) -> list[Times]:
    """Time requests one after another, each kind once to get warm."""
    with httpx.Client(base_url=address, timeout=120) as client:

        def recommend(rows: str, learning_rate: float) -> None:
            config = {"model_name_or_path": str(folder / "model"), "training_data_path": str(folder / rows)}
            body = {"config": {**config, "learning_rate": learning_rate}}
            client.post("/recommend", json=body).raise_for_status()

        cold = [_seconds(lambda number=number: recommend(f"rows-{number}.jsonl", 1e-4)) for number in range(5)]
        recommend("train.jsonl", 1.0)
        kinds: dict[str, Callable[[int], Any]] = {
            "GET /health": lambda _: client.get("/health").raise_for_status(),
            "POST /recommend, the same": lambda _: recommend("train.jsonl", 1.0),
            "POST /recommend, another value": lambda number: recommend("train.jsonl", 1e-6 * (number + 1)),
        }
        found = {
            name: [_seconds(lambda n=number, ask=ask: ask(n)) for number in range(count)] for name, ask in kinds.items()
        }
    return [*(Times.of(name, seconds) for name, seconds in found.items()), Times.of("POST /recommend, cold", cold)]


def report(measured: Sequence[Times]) -> str:
    """Write the times as a Markdown table."""
    nothing = measured[0].p50
    lines = ["| request | requests | p50 ms | p95 ms | p50 / health |", "|---|---|---|---|---|"]
    lines += [
        f"| {each.name} | {each.count} | {each.p50:.1f} | {each.p95:.1f} | {each.p50 / nothing:.1f} |"
        for each in measured
    ]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; returns 1 where a known pair takes longer than it may."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=300, help="of each kind")
    asked = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = _folder(Path(name))
        with server(folder) as address:
            measured = measure(address, folder, asked.requests)
    load = f"{os.getloadavg()[0]:.1f}"
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, load {load}, Python {platform.python_version()}\n")
    print(report(measured))
    known = [each for each in measured if each.name.startswith("POST") and "cold" not in each.name]
    slow = [each.name for each in known if each.p50 > MOST_P50_MS]
    print(f"\n{'not ' if slow else ''}within {MOST_P50_MS:g} ms at p50{': ' + ', '.join(slow) if slow else ''}")
    return 1 if slow else 0


def _folder(folder: Path) -> Path:
    """Copy the quickstart's model and rows, and make more files of rows that no request has named yet."""
    shutil.copytree(QUICKSTART / "model", folder / "model")
    shutil.copy(QUICKSTART / "train.jsonl", folder)
    for number in range(5):
        rows = [json.dumps({"text": f"Heron {number} waits beside the river {row} times."}) for row in range(1_000)]
        (folder / f"rows-{number}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _wait(address: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            httpx.get(f"{address}/health", timeout=5).raise_for_status()
            return
        except httpx.HTTPError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
