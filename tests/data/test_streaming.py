from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tuning.config.sections import Data
from tuning.data.rows import load_rows
from tuning.data.sources import Skipped
from tuning.data.streaming import stream_rows
from tuning.errors import DataError


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return str(path)


def texts(name: str, count: int) -> list[dict[str, Any]]:
    return [{"text": f"{name}{number}"} for number in range(count)]


def mixture(folder: Path) -> Data:
    datasets = [
        {"data_paths": write(folder / "a.jsonl", texts("a", 300)), "sampling": 0.3},
        {"data_paths": write(folder / "b.jsonl", texts("b", 500)), "sampling": 0.7},
        {"data_paths": write(folder / "c.jsonl", texts("c", 20)), "split": {"validation": 0.5}},
    ]
    return Data.model_validate({"datasets": datasets, "streaming": True})


def test_a_stream_has_the_rows_and_the_order_of_rows_that_are_read_whole_each_time(tmp_path: Path) -> None:
    data = mixture(tmp_path)
    stream, whole = stream_rows(data, seed=2), load_rows(data, seed=2)
    assert list(stream) == list(whole.train)
    assert list(islice(stream, 40, 60)) == list(whole.train[40:60])
    assert (stream.format, list(stream.validation)) == ("text", list(whole.validation))


def test_only_the_rows_that_are_asked_for_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", texts("a", 5000))
    with Path(path).open("a") as file:
        file.write("this is no JSON\n")
    stream = stream_rows(Data(training_data_path=[path], streaming=True), seed=1)
    assert len(list(islice(stream, 2000))) == 2000


def test_rows_that_cannot_be_used_are_told_once(tmp_path: Path) -> None:
    told: list[Skipped] = []
    path = write(tmp_path / "a.jsonl", [*texts("a", 60), {"text": None}])
    stream = stream_rows(Data(training_data_path=[path], streaming=True), 1, told.append)
    assert (len(list(stream)), len(list(stream))) == (60, 60)
    assert [item.place for item in told] == [f"{path} row 61"]


@pytest.mark.parametrize(("num_good", "num_bad", "num_seen"), [(10, 5, 10), (900, 5000, 900)])
def test_too_many_rows_that_cannot_be_used_end_the_stream(
    tmp_path: Path, num_good: int, num_bad: int, num_seen: int
) -> None:
    path = write(tmp_path / "a.jsonl", [*texts("a", num_good), *[{"text": None}] * num_bad])
    seen = []
    with pytest.raises(DataError, match="rows cannot be trained on; max_skipped_share allows 5%"):
        seen.extend(row for row in stream_rows(Data(training_data_path=[path], streaming=True), 1))
    assert seen == [] or len(seen) == num_seen


def test_held_out_rows_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    paths = [[write(tmp_path / f"{name}.jsonl", [*texts(name, 40), {"text": None}])] for name in "ab"]
    stream = stream_rows(Data(training_data_path=paths[0], validation_data_path=paths[1], streaming=True), 1)
    assert ([item.place for item in stream.skipped], stream.num_read) == ([f"{paths[1][0]} row 41"], 41)


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{"a": 1}], "no format fits the columns a"),
        ([{"text": None}] * 200, "100 of 100 rows cannot be trained on"),
        ([], "there are no rows"),
    ],
)
def test_a_wrong_format_is_refused_before_anything_is_trained(
    tmp_path: Path, rows: list[dict[str, Any]], told: str
) -> None:
    with pytest.raises(DataError, match=told):
        stream_rows(Data(training_data_path=[write(tmp_path / "a.jsonl", rows)], streaming=True), seed=1)
