from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import read_jsonl

from tuning.trackers.file_lock import file_lock
from tuning.trackers.replay import read_state
from tuning.trackers.run_files import RunFiles, read_json
from tuning.trackers.sync import main, set_aside

pytestmark = pytest.mark.slow


def wait_for(condition: Callable[[], Any], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


def points(service: Path) -> list[tuple[str, int]]:
    return [(name, step) for kind, value in read_jsonl(service) if kind == "metrics" for name, _, step, *_ in value]


def states(service: Path) -> list[str]:
    return [value[0] for kind, value in read_jsonl(service) if kind == "close"]


def sender_is_gone(run_dir: Path) -> bool:
    with file_lock(RunFiles(run_dir).sender_lock, wait=False) as free:
        return free


def test_a_run_arrives_while_it_goes_on_and_ends_with_its_state(start: Any, service: Path, run_dir: Path) -> None:
    tracker = start()
    tracker.track(1.0, "loss", step=1)
    wait_for(lambda: points(service))
    tracker.track(0.5, "loss", step=2)
    tracker.finish("failed", error="out of memory")
    assert points(service) == [("loss", 1), ("loss", 2)] and states(service) == ["failed"]
    assert read_json(run_dir / "tracking/links.json")["jsonl"]["open_with"].startswith("cat ")


def test_a_replay_of_a_complete_run_sends_nothing(start: Any, service: Path, run_dir: Path, capsys: Any) -> None:
    tracker = start()
    tracker.track(1.0, "loss", step=1)
    tracker.finish()
    before = read_jsonl(service)
    wait_for(lambda: sender_is_gone(run_dir))
    assert main([str(run_dir)]) == 0 == main([str(run_dir)])
    assert read_jsonl(service) == before and "jsonl: complete" in capsys.readouterr().out


@pytest.mark.parametrize("trouble", ["down", "frozen", "crash"])
def test_trouble_of_a_service_delays_no_call_and_a_replay_mends_it(
    trouble: str, start: Any, service: Path, run_dir: Path, caplog: Any
) -> None:
    (service / trouble).touch()
    begin = time.monotonic()
    tracker = start(finish_timeout=1, sender_patience=1)
    for step in range(1, 101):
        tracker.track(1.0 / step, "loss", step=step)
    assert time.monotonic() - begin < 1
    tracker.finish()
    assert time.monotonic() - begin < 3 and f"tune sync {run_dir}" in caplog.text
    (service / trouble).unlink()
    wait_for(lambda: sender_is_gone(run_dir))
    assert main([str(run_dir)]) == 0
    assert points(service) == [("loss", step) for step in range(1, 101)] and states(service) == ["finished"]


def test_a_service_that_fails_for_a_while_gets_everything_by_itself(start: Any, service: Path) -> None:
    tracker = start(finish_timeout=30, sender_patience=30)
    tracker.track(1.0, "loss", step=1)
    wait_for(lambda: points(service))
    (service / "down").touch()
    tracker.track(1.0, "loss", step=2)
    time.sleep(1)
    (service / "down").unlink()
    tracker.finish()
    assert points(service) == [("loss", 1), ("loss", 2)] and states(service) == ["finished"]


def test_a_frozen_service_holds_up_no_other(start: Any, service: Path, tmp_path: Path, monkeypatch: Any) -> None:
    from jsonl_backend import JsonlBackend

    from tuning.trackers.tracker_factory import TRACKERS

    TRACKERS.register("second")(JsonlBackend)
    tracker = start(trackers="jsonl,second", finish_timeout=1, sender_patience=1)
    tracker.track(1.0, "loss", step=1)
    wait_for(lambda: len(points(service)) == 2)


TRAINER = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from jsonl_backend import JsonlBackend
from tuning.trackers.tracker_factory import TRACKERS, create_tracker
TRACKERS.register("jsonl")(JsonlBackend)
tracker = create_tracker({"trackers": "jsonl", "jsonl_dir": sys.argv[2]}, Path(sys.argv[1]))
for step in range(int(sys.argv[4]), int(sys.argv[5])):
    tracker.track(1.0 / (step + 1), "loss", step=step)
if sys.argv[6] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[6] == "finish":
    tracker.finish()
"""


def train(run_dir: Path, service: Path, first: int, end: int, last_act: str) -> int:
    here = Path(__file__).parent
    arguments = [str(run_dir), str(service), str(here), str(first), str(end), last_act]
    environment = {**os.environ, "PYTHONPATH": str(here.parents[1])}
    return subprocess.run([sys.executable, "-c", TRAINER, *arguments], env=environment, check=False).returncode


def test_a_killed_trainer_loses_no_step_and_is_marked_killed(run_dir: Path, service: Path) -> None:
    assert train(run_dir, service, 0, 200, "kill") == -signal.SIGKILL
    wait_for(lambda: states(service))
    assert points(service) == [("loss", step) for step in range(200)] and states(service) == ["killed"]
    assert read_state(run_dir / "tracking/events.jsonl") == "killed"


def test_a_trainer_that_ends_without_a_word_is_marked_killed(run_dir: Path, service: Path) -> None:
    assert train(run_dir, service, 0, 3, "nothing") == 0
    wait_for(lambda: states(service) == ["killed"])


def test_a_resumed_run_goes_on_with_each_step_once(run_dir: Path, service: Path) -> None:
    train(run_dir, service, 0, 60, "kill")
    train(run_dir, service, 40, 100, "finish")
    assert points(service) == [("loss", step) for step in range(100)]
    assert states(service)[-1] == "finished" and len(list(service.glob("*.jsonl"))) == 1


def test_a_sender_that_is_killed_is_replaced_by_a_replay(run_dir: Path, service: Path, start: Any) -> None:
    (service / "frozen").touch()
    tracker = start(finish_timeout=0)
    tracker.track(1.0, "loss", step=1)
    os.killpg(tracker._sender.pid, signal.SIGKILL)
    tracker.finish()
    (service / "frozen").unlink()
    wait_for(lambda: main([str(run_dir)]) == 0)
    assert points(service) == [("loss", 1)] and states(service) == ["finished"]


def test_a_second_sender_leaves_the_first_alone(run_dir: Path, start: Any, capsys: Any) -> None:
    start()
    wait_for(lambda: not sender_is_gone(run_dir))
    assert main([str(run_dir)]) == 1 and "still at work" in capsys.readouterr().out


def test_a_folder_that_is_no_run_is_told(tmp_path: Path, capsys: Any) -> None:
    assert main([str(tmp_path)]) == 1
    assert "no such file" in capsys.readouterr().err


def test_two_runs_of_one_process_in_one_folder_are_one_run(start: Any, service: Path) -> None:
    first = start()
    first.track(1.0, "loss", step=1)
    first.finish("preempted")
    second = start()
    second.track(1.0, "loss", step=1)
    second.track(0.5, "loss", step=2)
    second.finish()
    assert points(service) == [("loss", 1), ("loss", 2)] and states(service) == ["preempted", "finished"]


def test_options_can_be_replaced_at_a_replay(start: Any, service: Path, tmp_path: Path, run_dir: Path) -> None:
    (service / "down").touch()
    tracker = start(finish_timeout=0, sender_patience=0)
    tracker.finish()
    wait_for(lambda: sender_is_gone(run_dir))
    other = tmp_path / "other"
    other.mkdir()
    assert main([str(run_dir), "--option", f"jsonl_dir={other}"]) == 0
    assert states(other) == ["finished"] and json.dumps(read_jsonl(other))


def test_a_log_can_be_sent_to_a_tracker_that_was_not_asked_for(start: Any, service: Path, run_dir: Path) -> None:
    tracker = start(trackers="none")
    tracker.track(1.0, "loss", step=1)
    tracker.finish()
    assert main([str(run_dir), "--tracker", "jsonl"]) == 0
    assert points(service) == [("loss", 1)] and states(service) == ["finished"]


def test_a_run_set_aside_makes_room_for_a_new_one(start: Any, service: Path, run_dir: Path) -> None:
    (service / "down").touch()
    old = start(finish_timeout=0, sender_patience=60)
    old.track(9.0, "loss", step=1)
    old.finish()
    wait_for(lambda: not sender_is_gone(run_dir))
    assert set_aside(run_dir) == run_dir / "tracking.1" and set_aside(run_dir) is None
    (service / "down").unlink()
    new = start()
    new.track(1.0, "loss", step=1)
    new.finish()
    assert points(service) == [("loss", 1)] and len(list(service.glob("*.jsonl"))) == 1


def test_a_sender_stops_when_its_log_is_moved_away(start: Any, service: Path, run_dir: Path) -> None:
    (service / "down").touch()
    start(finish_timeout=0)
    wait_for(lambda: not sender_is_gone(run_dir))
    moved = (run_dir / "tracking").rename(run_dir / "moved")
    with file_lock(moved / "sender.lock"):
        assert not (run_dir / "tracking" / "links.json").exists()


def test_own_options_of_a_tracker_reach_it(start: Any, service: Path) -> None:
    tracker = start(jsonl_dir=None, tracker_options={"jsonl": {"jsonl_dir": str(service)}})
    tracker.finish()
    assert states(service) == ["finished"]
