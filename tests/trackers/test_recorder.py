from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from tuning.trackers.recorder import Recorder
from tuning.trackers.replay import read_params
from tuning.trackers.tracker import Tracker
from tuning.trackers.tracker_factory import create_tracker


def params(run_dir: Path) -> dict[str, Any]:
    return dict(read_params(run_dir / "tracking" / "events.jsonl"))


def test_an_answer_becomes_params_off_the_calling_thread(run_dir: Path) -> None:
    recorder = Recorder(create_tracker({}, run_dir))
    recorder.record("where", lambda: {"thread": threading.current_thread().name})
    recorder.finish(10)
    assert params(run_dir) == {"where.thread": "tracking-recorder"}


def test_asking_costs_no_time(run_dir: Path) -> None:
    recorder = Recorder(create_tracker({}, run_dir))
    begin = time.monotonic()
    for number in range(3):
        recorder.record(f"slow{number}", lambda: time.sleep(0.1) or {"x": 1})
    assert time.monotonic() - begin < 0.1
    recorder.finish(10)
    assert params(run_dir) == {"slow0.x": 1, "slow1.x": 1, "slow2.x": 1}


def test_a_question_that_cannot_be_answered_leaves_the_others_alone(run_dir: Path, caplog: Any) -> None:
    recorder = Recorder(create_tracker({}, run_dir))
    recorder.record("bad", lambda: 1 / 0)
    recorder.record("good", lambda: {"x": 1})
    recorder.finish(10)
    assert params(run_dir) == {"good.x": 1} and "bad is not recorded: ZeroDivisionError" in caplog.text


def test_the_end_does_not_wait_longer_than_it_may(run_dir: Path, caplog: Any) -> None:
    go_on = threading.Event()
    recorder = Recorder(create_tracker({}, run_dir))
    recorder.record("endless", lambda: go_on.wait(20) and {"x": 1})
    begin = time.monotonic()
    recorder.finish(0.1)
    assert time.monotonic() - begin < 2 and "not recorded: endless" in caplog.text
    go_on.set()
    time.sleep(0.2)
    assert params(run_dir) == {}


def test_a_recorder_that_is_off_asks_nothing() -> None:
    asked: list[int] = []
    recorder = Recorder(Tracker(), enabled=False)
    recorder.record("x", lambda: asked.append(1))
    recorder.finish(1)
    assert asked == []
