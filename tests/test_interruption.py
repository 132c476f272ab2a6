from __future__ import annotations

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
        request.is_training = True
        os.kill(os.getpid(), signal.SIGUSR1)
        assert request.signum == signal.SIGUSR1


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (signal.SIGTERM, {signal.SIGTERM, signal.SIGINT}),
        (signal.SIGINT, {signal.SIGTERM, signal.SIGINT}),
        (signal.SIGUSR1, {signal.SIGUSR1}),
    ],
)
def test_a_second_signal_acts_as_if_nobody_listened(first: signal.Signals, again: set[signal.Signals]) -> None:
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    with stop_on_request() as request:
        request.is_training = True
        os.kill(os.getpid(), first)
        assert {signum for signum in SIGNALS if signal.getsignal(signum) == before[signum]} == again


def test_once_the_model_is_saved_a_signal_ends_the_run_at_once(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Preempted, match="stopped by SIGTERM during the end"), stop_on_request() as request:
        request.is_training = True
        with request.ending_at_once("during the end"):
            os.kill(os.getpid(), signal.SIGTERM)
    assert request.is_training
    assert "SIGTERM was received" in caplog.text


def test_a_signal_that_came_while_the_model_was_saved_ends_the_run_after_it() -> None:
    measured = []
    with pytest.raises(Preempted, match="stopped by SIGUSR1 during the end"), stop_on_request() as request:
        request.is_training = True
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


@pytest.mark.slow
def test_a_stopped_run_ends_with_75_and_goes_on_to_the_same_weights(tiny_model: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"Say {number}: ", "completion": str(number)} for number in range(64)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    settings = ("max_steps=40", "logging_steps=1", "save_strategy=no", f"model_name_or_path={tiny_model}")
    command = [sys.executable, "-m", "tuning.sft_trainer", "training_data_path=rows.jsonl", *settings]
    stopped = subprocess.Popen([*command, "output_dir=stopped"], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    _wait_for_a_step(tmp_path / "stopped" / "tracking" / "events.jsonl", stopped)
    stopped.send_signal(signal.SIGTERM)
    error = stopped.communicate(timeout=120)[1]
    assert (stopped.returncode, "run the same command again to go on" in error) == (75, True)
    assert '"state":"preempted"' in (tmp_path / "stopped" / "tracking" / "events.jsonl").read_text()
    for folder in ("stopped", "unbroken"):
        subprocess.run([*command, f"output_dir={folder}"], cwd=tmp_path, check=True, capture_output=True, timeout=300)
    weights = [(tmp_path / folder / "model" / "model.safetensors").read_bytes() for folder in ("stopped", "unbroken")]
    assert weights[0] == weights[1]


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


def _wait_for_a_step(events: Path, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 120
    while not events.exists() or "train/loss" not in events.read_text():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.02)
