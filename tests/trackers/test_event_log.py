from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tuning.trackers.event_log import EventLog, LogReader, number_to_json, read_records


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tracking" / "events.jsonl"


def test_what_is_appended_is_read_in_order(path: Path) -> None:
    log = EventLog(path)
    assert [log.append("metrics", values={"a": number}) for number in range(3)] == [1, 2, 3]
    assert [record["values"]["a"] for record in read_records(path)] == [0, 1, 2]


def test_a_record_stands_in_the_file_before_the_call_returns(path: Path) -> None:
    EventLog(path).append("params", values={})
    assert json.loads(path.read_text())["type"] == "params"


def test_a_log_that_is_opened_again_is_continued(path: Path) -> None:
    EventLog(path).append("a")
    assert EventLog(path).append("b") == 2


def test_a_line_cut_short_costs_only_itself(path: Path) -> None:
    EventLog(path).append("a")
    with path.open("a") as file:
        file.write('{"seq": 2, "ty')
    EventLog(path).append("c")
    assert [record["type"] for record in read_records(path)] == ["a", "c"]


def test_a_reader_leaves_an_unfinished_line_for_later(path: Path) -> None:
    path.parent.mkdir()
    path.write_text('{"seq": 1}\n{"seq"')
    reader = LogReader(path)
    assert len(reader.read()) == 1 and reader.at_end()
    with path.open("a") as file:
        file.write(": 2}\n")
    assert reader.read() == [{"seq": 2}]


def test_a_record_longer_than_a_chunk_is_read_whole(path: Path) -> None:
    EventLog(path).append("params", values={"x": "y" * 5000})
    assert len(LogReader(path).read(chunk_bytes=100)) == 1


def test_lines_that_are_no_records_are_counted(path: Path) -> None:
    path.parent.mkdir()
    path.write_text('nonsense\n[]\n{"seq": 1}\n\n')
    reader = LogReader(path)
    assert len(reader.read()) == 1 and reader.num_unreadable == 2


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.5, 3])
def test_any_number_survives_strict_json(value: float) -> None:
    text = json.dumps(number_to_json(value), allow_nan=False)
    assert repr(float(json.loads(text))) == repr(float(value))


def test_threads_may_append_at_once(path: Path) -> None:
    log = EventLog(path)
    threads = [threading.Thread(target=lambda: [log.append("x") for _ in range(200)]) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert [record["seq"] for record in read_records(path)] == list(range(1, 801))


def test_a_closed_log_opens_again_for_a_late_record(path: Path) -> None:
    log = EventLog(path)
    log.append("a")
    log.close()
    log.append("b")
    assert [record["type"] for record in read_records(path)] == ["a", "b"]


LIMITED = """
import os, resource, sys
from pathlib import Path
from tuning.trackers import event_log
log = event_log.EventLog(Path(sys.argv[1]), reserve_bytes=int(sys.argv[2]))
log.append("before")
def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
"""
"""Python ignores the signal of a file that grows over its limit; the write fails, as on a full disk."""

needs_limit = pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs a limit on file sizes")


def run_limited(code: str, path: Path, reserve_bytes: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", LIMITED + code, str(path), str(reserve_bytes)]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment)


@needs_limit
@pytest.mark.parametrize("room", range(1, 60, 6))
def test_a_line_that_was_cut_anywhere_is_there_once(path: Path, room: int) -> None:
    code = (
        f"limit(os.stat(sys.argv[1]).st_size + {room})\n"
        "log.append('during'); log.append('during')\nlimit(-1)\nlog.append('after')"
    )
    run_limited(code, path)
    assert [record["type"] for record in read_records(path)] == ["before", "during", "during", "after"]


@needs_limit
def test_records_wait_on_a_full_disk_until_there_is_room(path: Path) -> None:
    code = "limit(100)\nfor _ in range(5): log.append('during')\nlimit(-1)\nlog.append('after')\nprint(log.dropped)"
    done = run_limited(code, path)
    assert [record["type"] for record in read_records(path)] == ["before", *["during"] * 5, "after"]
    assert done.stdout == "0\n" and done.stderr.count("records wait") == 1


@needs_limit
def test_what_memory_cannot_hold_is_dropped_and_counted_but_never_the_end(path: Path) -> None:
    code = (
        "event_log._MOST_WAITING_BYTES = 200\nlimit(60)\nfor _ in range(9): log.append('during')\n"
        "log.append('state')\nlimit(-1)\nlog.flush()\nprint(log.dropped)"
    )
    dropped = int(run_limited(code, path).stdout)
    kept = [record["type"] for record in read_records(path)]
    assert (kept[0], kept[-1]) == ("before", "state") and dropped == 9 - kept.count("during") > 0


@needs_limit
def test_what_never_found_room_is_counted_when_the_log_is_closed(path: Path) -> None:
    assert (
        run_limited("limit(60)\nfor _ in range(3): log.append('during')\nlog.close()\nprint(log.dropped)", path).stdout
        == "3\n"
    )


@needs_limit
def test_a_process_that_dies_on_a_full_disk_leaves_its_records_in_the_reserve(path: Path) -> None:
    run_limited("limit(8192)\nfor number in range(200): log.append('during', n=number)\nos._exit(0)", path, 65536)
    cut = len(list(read_records(path)))
    log = EventLog(path)
    log.append("after")
    kept = list(read_records(path))
    assert cut < 201 and [record["seq"] for record in kept] == list(range(1, len(kept) + 1))
    assert len(kept) > cut + 20


def test_the_reserve_goes_with_a_log_that_is_written(path: Path) -> None:
    log = EventLog(path, reserve_bytes=8192)
    log.append("a")
    assert path.with_suffix(".reserve").stat().st_size == 8192
    log.close()
    assert not path.with_suffix(".reserve").exists()
