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


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from tuning.trackers.event_log import EventLog
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log = EventLog(Path(sys.argv[1]))
log.append("before")
resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
for _ in range(5):
    log.append("during")
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
log.append("after")
print(log.dropped)
"""


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="needs a limit on file sizes")
def test_a_full_disk_costs_only_the_records_that_did_not_fit(path: Path) -> None:
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", FULL_DISK, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    kept = [record["type"] for record in read_records(path)]
    assert kept[0] == "before" and kept[-1] == "after"
    assert int(done.stdout) == 5 - kept.count("during") > 0
    assert done.stderr.count("could not be written") == 1
