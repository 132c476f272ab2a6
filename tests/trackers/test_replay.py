from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tuning.trackers.event_log import EventLog
from tuning.trackers.replay import Replay, read_params, read_series, read_state


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return EventLog(tmp_path / "events.jsonl")


def metrics(step: int, **values: Any) -> dict[str, Any]:
    return {"step": step, "epoch": None, "values": values}


def test_a_step_that_is_trained_again_is_counted_once(log: EventLog) -> None:
    for step, loss in [(1, 3.0), (2, 2.0), (2, 2.5), (3, 1.0)]:
        log.append("metrics", **metrics(step, loss=loss))
    assert read_series(log.path) == {"loss": [(1, 3.0), (2, 2.0), (3, 1.0)]}


def test_different_series_may_share_a_step(log: EventLog) -> None:
    log.append("metrics", **metrics(1, loss=3.0))
    log.append("metrics", **metrics(1, rate=0.1))
    assert set(read_series(log.path)) == {"loss", "rate"}


def test_infinite_numbers_come_back(log: EventLog) -> None:
    log.append("metrics", **metrics(1, a="Infinity", b="NaN"))
    series = read_series(log.path)
    assert series["a"] == [(1, math.inf)] and math.isnan(series["b"][0][1])


def test_a_changed_param_is_kept_beside_the_first(log: EventLog) -> None:
    for rate in (1, 2, 2, 1, 3):
        log.append("params", name="config", values={"rate": rate})
    assert read_params(log.path) == {"config.rate": 1, "changed.1.config.rate": 2, "changed.2.config.rate": 3}


def test_a_param_never_stands_where_another_has_its_parent(log: EventLog) -> None:
    for values in ({"a": 1}, {"a": {"b": 2}}, {"c": {"d": 3}}, {"c": 4}):
        log.append("params", name=None, values=values)
    assert read_params(log.path) == {"a": 1, "changed.1.a.b": 2, "c.d": 3, "changed.1.c": 4}


def test_only_records_after_the_given_one_are_delivered(log: EventLog) -> None:
    records = [{"seq": seq, "time": 0.0, "type": "metrics", **metrics(seq, x=seq)} for seq in range(1, 6)]
    delivery = Replay().take(records, after=3)
    assert [point.step for point in delivery.points] == [4, 5] and delivery.num_records == 2


def test_the_full_text_of_a_long_param_is_kept(log: EventLog) -> None:
    replay = Replay()
    replay.take([{"seq": 1, "time": 0.0, "type": "params", "name": "p", "values": {"text": "x" * 3000}}])
    assert replay.long_params == {"p.text": "x" * 3000}


def test_the_state_is_that_of_the_newest_attempt(log: EventLog) -> None:
    log.append("run")
    assert read_state(log.path) == "running"
    log.append("state", state="killed")
    assert read_state(log.path) == "killed"
    log.append("run")
    assert read_state(log.path) == "running"
