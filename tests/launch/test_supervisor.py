"""The supervisor with real processes that stand in for a run: each does what the numbered attempt says."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tuning.launch.ranks import Ranks
from tuning.launch.supervisor import supervise

_LEAVE = "import os, signal, sys, time; from pathlib import Path; folder = Path(sys.argv[1]); "
_LEAVE += "(folder / 'rank-0.pid').write_text(str(os.getpid())); "
DIE = "os.kill(os.getpid(), signal.SIGKILL)"
WAIT = "signal.signal(signal.SIGTERM, lambda *_: end(75)); (folder / 'waits').touch(); time.sleep(60)"


_RANK = f"{_LEAVE}(folder / 'is-here').touch(); "
_LAUNCHER = """
import os, signal, subprocess, sys, time
from pathlib import Path
subprocess.Popen([sys.executable, "-c", sys.argv[2], sys.argv[1]], start_new_session=True)
while not (Path(sys.argv[1]) / "is-here").exists():
    time.sleep(0.01)
"""


def launched(rank: str, then: str) -> Callable[[int, Path], Sequence[str]]:
    """Return the command of a stand-in for a launcher: it starts one process in a session of its own, as torch does."""
    return lambda number, folder: [sys.executable, "-c", _LAUNCHER + then, str(folder), _RANK + rank]


def end_with(code: int) -> str:
    return f"(folder / 'rank-0.code').write_text('{code}'); sys.exit({code})"


def attempts(*codes: str) -> Callable[[int, Path], Sequence[str]]:
    """Return the command of each attempt, which runs a piece of Python."""
    end = "def end(code):\n (folder / 'rank-0.code').write_text(str(code)); os._exit(code)\n"
    return lambda number, folder: [sys.executable, "-c", f"{_LEAVE}\n{end}{codes[number]}", str(folder)]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuning.launch.supervisor._LONGEST_PAUSE", 0.0)


def test_a_run_that_ends_well_is_not_started_again(tmp_path: Path) -> None:
    assert supervise(attempts(end_with(0)), tmp_path, num_ranks=1, max_restarts=3) == 0


@pytest.mark.parametrize("first", [DIE, end_with(203)])
def test_a_run_whose_process_dies_or_fails_is_started_again(
    first: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert supervise(attempts(first, end_with(0)), tmp_path, num_ranks=1, max_restarts=1) == 0
    assert "restart 1 of 1" in caplog.text


@pytest.mark.parametrize("code", [1, 75])
def test_wrong_input_and_a_stop_are_not_tried_again(code: int, tmp_path: Path) -> None:
    assert supervise(attempts(end_with(code)), tmp_path, num_ranks=1, max_restarts=3) == code


def test_the_last_code_is_that_of_the_command(tmp_path: Path) -> None:
    assert supervise(attempts(DIE, end_with(203)), tmp_path, num_ranks=1, max_restarts=1) == 203


def test_a_signal_is_passed_on_to_the_processes_and_ends_the_run(tmp_path: Path) -> None:
    def stop() -> None:
        while not (tmp_path / "attempt-0" / "waits").exists():
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, daemon=True).start()
    assert supervise(attempts(WAIT), tmp_path, num_ranks=1, max_restarts=3) == 75


def test_what_a_launcher_that_died_leaves_running_is_killed(tmp_path: Path) -> None:
    assert supervise(launched("time.sleep(60)", DIE), tmp_path, num_ranks=1, max_restarts=0) == 203
    ranks, until = Ranks(tmp_path / "attempt-0", 1), time.monotonic() + 30
    while ranks.running() and time.monotonic() < until:
        time.sleep(0.02)
    assert ranks.ids() and not ranks.running()


def test_a_launcher_that_hangs_after_its_processes_are_gone_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuning.launch.supervisor._MOST_SECONDS_AFTER_RANKS", 0.2)
    command = launched(end_with(0), "time.sleep(3600)")
    assert supervise(command, tmp_path, num_ranks=1, max_restarts=0) == 0


@pytest.mark.parametrize(("second", "left"), [(DIE, "rank 0 died\n"), (end_with(0), "")])
def test_what_kubernetes_reads_is_the_cause_of_the_last_end(
    second: str, left: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    log.write_text("an earlier cause")
    monkeypatch.setenv("TERMINATION_LOG_FILE", str(log))
    supervise(attempts(DIE, second), tmp_path, num_ranks=1, max_restarts=1)
    assert log.read_text() == left


def test_a_stop_in_the_pause_before_a_restart_is_the_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERMINATION_LOG_FILE", str(tmp_path / "log"))
    monkeypatch.setattr("tuning.launch.supervisor._is_stopped_within", lambda *_: True)
    assert supervise(attempts(DIE, end_with(0)), tmp_path, num_ranks=1, max_restarts=1) == 75
    assert (tmp_path / "log").read_text().startswith("stopped on request before a restart")
