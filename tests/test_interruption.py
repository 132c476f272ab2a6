from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from tuning.errors import Preempted
from tuning.interruption import SIGNALS, StopRequest, stop_on_request


def test_before_training_a_signal_ends_the_run_at_once() -> None:
    with pytest.raises(Preempted, match="stopped by SIGTERM before the first step"), stop_on_request():
        os.kill(os.getpid(), signal.SIGTERM)


def test_in_training_a_signal_is_noted_and_waits() -> None:
    with stop_on_request() as request:
        request.waits = True
        os.kill(os.getpid(), signal.SIGUSR1)
        assert request.signum == signal.SIGUSR1


def test_the_same_signal_again_at_once_is_the_same_request() -> None:
    with stop_on_request() as request:
        request.waits = True
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
        assert request.signum == signal.SIGTERM


@pytest.mark.parametrize(
    ("first", "second"),
    [(first, second) for first in (signal.SIGTERM, signal.SIGINT) for second in (signal.SIGTERM, signal.SIGINT)]
    + [(signal.SIGUSR1, signal.SIGUSR1)],
)
def test_a_second_signal_acts_as_if_nobody_listened(
    first: signal.Signals, second: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    received: list[int] = []
    monkeypatch.setattr("tuning.interruption._SAME_REQUEST_SECONDS", 0.0)
    before = signal.signal(second, lambda signum, frame: received.append(signum))
    with stop_on_request() as request:
        request.waits = True
        os.kill(os.getpid(), first)
        assert received == []
        os.kill(os.getpid(), second)
    signal.signal(second, before)
    assert (request.signum, received) == (first, [second])


def test_once_the_model_is_saved_a_signal_ends_the_run_at_once(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Preempted, match="stopped by SIGTERM during the end"), stop_on_request() as request:
        request.waits = True
        with request.ending_at_once("during the end"):
            os.kill(os.getpid(), signal.SIGTERM)
    assert request.waits
    assert "SIGTERM was received" in caplog.text


def test_a_signal_that_came_while_the_model_was_saved_ends_the_run_after_it() -> None:
    measured = []
    with pytest.raises(Preempted, match="stopped by SIGUSR1 during the end"), stop_on_request() as request:
        request.waits = True
        os.kill(os.getpid(), signal.SIGUSR1)
        with request.ending_at_once("during the end"):
            measured.append(True)
    assert measured == []


def test_the_handlers_of_before_come_back() -> None:
    before = [signal.getsignal(signum) for signum in SIGNALS]
    with stop_on_request():
        assert [signal.getsignal(signum) for signum in SIGNALS] != before
    assert [signal.getsignal(signum) for signum in SIGNALS] == before


def test_another_thread_listens_to_nothing() -> None:
    found: list[StopRequest] = []

    def listen() -> None:
        with stop_on_request() as request:
            found.append(request)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert found == [StopRequest()]


def test_a_signal_that_is_held_ends_the_run_after_the_block() -> None:
    done = []
    with pytest.raises(Preempted, match="before the first step"), stop_on_request() as request:
        with request.held():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append(True)
        done.append(False)
    assert done == [True]


def test_what_was_raised_and_lost_is_raised_at_the_next_look() -> None:
    with pytest.raises(Preempted, match="SIGUSR1"), stop_on_request() as request:
        with contextlib.suppress(Preempted):
            os.kill(os.getpid(), signal.SIGUSR1)
        request.raise_if_asked()


def test_a_warning_and_then_the_end_leave_the_run_the_time_to_say_so() -> None:
    said = []
    with pytest.raises(Preempted, match="SIGUSR1"), stop_on_request():
        try:
            os.kill(os.getpid(), signal.SIGUSR1)
        finally:
            os.kill(os.getpid(), signal.SIGTERM)
            said.append("preempted")
    assert said == ["preempted"]


def test_a_command_listens_and_its_run_takes_the_signals_over() -> None:
    with stop_on_request() as outer:
        with stop_on_request() as inner:
            inner.waits = True
            os.kill(os.getpid(), signal.SIGTERM)
        assert inner.signum == outer.signum == signal.SIGTERM
        with pytest.raises(Preempted), stop_on_request() as later:
            later.raise_if_asked()


@pytest.mark.parametrize("signum", SIGNALS)
def test_before_its_work_a_process_ends_with_75_and_says_why(signum: signal.Signals, tmp_path: Path) -> None:
    code = "import os; from tuning.interruption import exit_on_request; exit_on_request()"
    code += f"; os.kill(os.getpid(), {signum:d})"
    environ = {**os.environ, "TERMINATION_LOG_FILE": str(tmp_path / "log")}
    ended = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True)
    message = f"stopped by {signum.name} before the first step; run the same command again\n"
    assert (ended.returncode, ended.stderr, (tmp_path / "log").read_text()) == (75, message, message)


def test_the_main_job_listens_before_it_imports_anything_else(project_root: Path) -> None:
    lines = (project_root / "tuning" / "sft_trainer.py").read_text().splitlines()
    imports = [line.strip() for line in lines if line.strip().startswith(("import ", "from "))]
    assert imports[:2] == ["from __future__ import annotations", "from tuning.interruption import exit_on_request"]


@pytest.mark.slow
@pytest.mark.parametrize("module", ["tuning.sft_trainer", "tuning.cli preprocess"])
def test_a_signal_while_rows_are_tokenized_ends_the_run_and_its_workers_and_leaves_nothing(
    tiny_config_only_model: Path, tmp_path: Path, module: str
) -> None:
    row = json.dumps({"prompt": "Say it: " * 40, "completion": "it" * 40})
    (tmp_path / "rows.jsonl").write_text(f"{row}\n" * 60_000)
    command = [sys.executable, "-m", *module.split(), "training_data_path=rows.jsonl", "dataset_prepared_path=kept"]
    command += [f"model_name_or_path={tiny_config_only_model}", "train_from_scratch=true", "dataset_num_proc=3"]
    command += ["output_dir=out", "recommend=false"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    workers = _wait_for_workers(psutil.Process(process.pid), 2)
    process.send_signal(signal.SIGTERM)
    error = process.communicate(timeout=60)[1]
    assert (process.returncode, "stopped by SIGTERM before the first step; run the same" in error) == (75, True)
    assert _all_end(workers) and not (tmp_path / "out").exists()
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["locks"]


def _wait_for_workers(process: psutil.Process, number: int) -> list[psutil.Process]:
    until = time.monotonic() + 120
    while len(workers := process.children()) < number:
        assert process.is_running() and time.monotonic() < until
        time.sleep(0.02)
    return workers


def _all_end(workers: list[psutil.Process]) -> bool:
    until = time.monotonic() + 20
    while any(map(_goes_on, workers)) and time.monotonic() < until:
        time.sleep(0.02)
    return not any(map(_goes_on, workers))


def _goes_on(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
