from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

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


def _wait_for_a_step(events: Path, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 120
    while not events.exists() or "train/loss" not in events.read_text():
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.02)
