"""Start processes that outlive this one, stop them, and tell whether one seen before is still there."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def started_at(pid: int) -> str | None:
    """Return a mark of when a process started, or None where no such process runs.

    A process number is used again after its owner has died; number and mark together are not.
    """
    stat = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self/stat").exists():
        return _started_at_by_ps(pid)
    try:
        fields = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return None
    # Counted after the process name: the state comes first, the start time in clock ticks since boot is the 20th.
    return None if fields[0] in "ZX" else f"{_boot_id()}:{fields[19]}"


def is_alive(pid: int, mark: str | None) -> bool:
    """Tell whether the process seen earlier with that mark still runs."""
    now = started_at(pid)
    return now is not None and (mark is None or now == mark)


def kill_group(pid: int) -> None:
    """End a child that leads its own process group, and what it has started, if they are still there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def when_told_to_stop() -> Callable[[], bool]:
    """Return a question that is answered with True once a signal to stop has come to this process."""
    told: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: told.append(number))
    return lambda: bool(told)


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _started_at_by_ps(pid: int) -> str | None:
    answer = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, start = answer.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else start.strip()


def start_with_order(command: list[str], order: Mapping[str, Any], log_path: Path) -> subprocess.Popen[bytes]:
    """Start a process that leads a session of its own, with its order as one line of JSON on standard input."""
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=_environment(), start_new_session=True
        )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
        # By pipe and not by argument, which every user of the machine could read: an address can hold a password.
        pipe.write(json.dumps(order).encode() + b"\n")
    return process


def _environment() -> dict[str, str]:
    # The sender has to find what the trainer has imported, wherever the trainer found it.
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])}
