from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import read_jsonl
from jsonl_backend import JsonlBackend

from tuning.trackers.backend import Link, RunInfo
from tuning.trackers.event_log import EventLog
from tuning.trackers.feed import Feed, _WithoutSecrets, new_backend
from tuning.trackers.progress import load_progress
from tuning.trackers.run_files import RunFiles


@pytest.fixture
def files(run_dir: Path) -> RunFiles:
    return RunFiles(run_dir)


@pytest.fixture
def log(files: RunFiles) -> EventLog:
    log = EventLog(files.events)
    log.append("run", run_id="r1", name="n", experiment="e")
    return log


@pytest.fixture
def feed(files: RunFiles, service: Path) -> Callable[[], bool]:
    """Feed the service what it has not had; True when everything has arrived."""
    return lambda: Feed(files, "jsonl", JsonlBackend, {"jsonl_dir": str(service)}).run(follow=False)


def point(log: EventLog, step: int, **values: Any) -> None:
    log.append("metrics", step=step, epoch=None, values=values)


def kinds(service: Path) -> list[str]:
    return [kind for kind, _ in read_jsonl(service)]


def test_everything_arrives_once_however_often_it_is_fed(log: EventLog, feed: Any, service: Path) -> None:
    log.append("params", name="config", values={"rate": 1})
    point(log, 1, loss=2.0)
    log.append("state", state="finished", error=None)
    assert feed() and feed() and feed()
    assert kinds(service) == ["open", "params", "metrics", "close"]


def test_a_run_that_goes_on_is_let_go_and_taken_up_again(log: EventLog, feed: Any, service: Path) -> None:
    point(log, 1, loss=2.0)
    assert feed()
    point(log, 2, loss=1.0)
    assert feed()
    assert read_jsonl(service)[0] == ["open", None] and read_jsonl(service)[3] == ["open", "r1"]
    assert kinds(service) == ["open", "metrics", "release"] * 2


def test_only_the_newest_state_counts(log: EventLog, feed: Any, service: Path) -> None:
    log.append("state", state="killed", error=None)
    log.append("run", run_id="r1")
    log.append("state", state="failed", error="ValueError: x")
    assert feed()
    assert [value for kind, value in read_jsonl(service) if kind == "close"] == [["failed", "ValueError: x"]]


def test_what_comes_after_the_end_arrives_too(log: EventLog, feed: Any, service: Path) -> None:
    log.append("state", state="finished", error=None)
    assert feed()
    point(log, 1, late=1)
    assert feed()
    assert kinds(service) == ["open", "close", "open", "metrics", "close"]


def test_a_refused_value_keeps_no_other_from_arriving(log: EventLog, feed: Any, service: Path, files: RunFiles) -> None:
    log.append("params", name=None, values={"a": 1, "b": "refused", "c": 3})
    assert feed()
    arrived = {key for kind, value in read_jsonl(service) if kind == "params" for key in value}
    assert arrived == {"a", "c"} and load_progress(files, "jsonl").refused == 1


def test_an_artifact_that_cannot_be_sent_holds_up_nothing_and_is_tried_again(
    log: EventLog, feed: Any, service: Path, tmp_path: Path
) -> None:
    (tmp_path / "unsendable").write_text("x")
    log.append("artifact", path=str(tmp_path / "unsendable"), name="x")
    point(log, 1, loss=1)
    log.append("state", state="finished", error=None)
    assert not feed() and "close" in kinds(service)


def test_an_artifact_is_sent_later_when_it_can_be(log: EventLog, feed: Any, service: Path, tmp_path: Path) -> None:
    (tmp_path / "unsendable").write_text("x")
    log.append("artifact", path=str(tmp_path / "unsendable"), name="x")
    assert not feed()
    (tmp_path / "unsendable").unlink()
    assert feed()


def test_a_long_param_is_shortened_and_arrives_in_full_as_a_file(log: EventLog, feed: Any, service: Path) -> None:
    log.append("params", name=None, values={"text": "x" * 3000})
    assert feed()
    sent = dict(read_jsonl(service))
    assert len(sent["params"]["text"]) == 500 and "x" * 3000 in sent["artifact"][1]


@pytest.mark.slow
def test_a_service_that_is_down_gets_everything_later(log: EventLog, feed: Any, service: Path, files: RunFiles) -> None:
    point(log, 1, loss=2.0)
    log.append("state", state="finished", error=None)
    (service / "down").touch()
    assert not feed() and "is down" in str(load_progress(files, "jsonl").error)
    (service / "down").unlink()
    assert feed() and kinds(service) == ["open", "metrics", "close"]


def test_a_backend_is_found_by_its_address() -> None:
    assert type(new_backend("jsonl_backend:JsonlBackend", "jsonl")).__name__ == "JsonlBackend"


def test_the_tracker_in_the_documentation_works(log: EventLog, files: RunFiles) -> None:
    page = (Path(__file__).parents[2] / "docs" / "tracking.md").read_text()
    names: dict[str, Any] = {}
    exec(page[page.index("import sqlite3") :].split("```")[0], names)
    point(log, 1, loss=2.0)
    for _ in range(2):
        files.delivery("sqlite").unlink(missing_ok=True)
        assert Feed(files, "sqlite", names["SqliteBackend"], {}).run(follow=False)
    rows = sqlite3.connect(files.run_dir / "metrics.db").execute("select * from metrics").fetchall()
    assert rows == [("r1", "loss", 1, 2.0)]


def test_what_a_feed_writes_down_holds_no_password_of_an_address(log: EventLog, files: RunFiles) -> None:
    class Unreachable(JsonlBackend):
        def open(self, run: RunInfo, saved_id: str | None) -> Link:
            return Link("r1", "https://me:hunter2@host/run", "show https://me:hunter2@host")

        def metrics(self, batch: Any) -> None:
            raise ValueError("cannot reach https://me:hunter2@host")

        def release(self) -> None:
            return

    point(log, 1, loss=2.0)
    assert Feed(files, "jsonl", Unreachable, {}).run(follow=False)
    written = files.delivery("jsonl").read_text()
    assert "[redacted]@host/run" in written and "cannot reach" in written and "hunter2" not in written


def test_what_a_feed_logs_holds_no_password() -> None:
    record = logging.LogRecord("x", logging.WARNING, "", 0, "cannot reach %s", ("https://me:hunter2@host",), None)
    text = _WithoutSecrets("%(name)s: %(message)s").format(record)
    assert text == "x: cannot reach https://[redacted]@host"
