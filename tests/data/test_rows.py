from __future__ import annotations

import json
from pathlib import Path

import pytest

from tuning.config.sections import Data
from tuning.data.rows import load_rows
from tuning.errors import DataError


def write(path: Path, count: int, **extra: object) -> str:
    path.write_text(
        "".join(json.dumps({"prompt": f"p{n}", "completion": f"c{n}", **extra}) + "\n" for n in range(count))
    )
    return str(path)


def test_rows_are_split_by_fraction_without_overlap_and_the_same_for_a_seed(tmp_path: Path) -> None:
    data = Data(training_data_path=write(tmp_path / "a.jsonl", 20), validation_fraction=0.25)
    rows = load_rows(data, seed=1)
    assert (len(rows.train), len(rows.validation)) == (15, 5)
    assert not [row for row in rows.validation if row in rows.train]
    assert load_rows(data, seed=1) == rows
    assert load_rows(data, seed=2) != rows


def test_held_out_rows_may_stand_in_a_file_of_their_own(tmp_path: Path) -> None:
    paths = write(tmp_path / "a.jsonl", 4), write(tmp_path / "b.jsonl", 2)
    rows = load_rows(Data(training_data_path=paths[0], validation_data_path=paths[1]), seed=1)
    assert (len(rows.train), len(rows.validation), rows.format) == (4, 2, "prompt_completion")


def test_unusable_rows_are_told_by_place_and_counted(tmp_path: Path) -> None:
    good = write(tmp_path / "a.jsonl", 2)
    Path(good).write_text(Path(good).read_text() + '{"prompt": "p", "completion": null}\n' * 7)
    with pytest.raises(DataError) as error:
        load_rows(Data(training_data_path=good), seed=1)
    lines = str(error.value).splitlines()
    assert lines[0] == "7 of 9 rows cannot be trained on:"
    assert lines[1].endswith("a.jsonl row 3: column completion: expected text, got NoneType")
    assert lines[-1] == "… and 2 more"


def test_no_rows_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are no rows"):
        load_rows(Data(training_data_path=write(tmp_path / "a.jsonl", 0)), seed=1)


def test_a_fraction_that_leaves_nothing_to_train_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="leaves none of 1 rows"):
        load_rows(Data(training_data_path=write(tmp_path / "a.jsonl", 1), validation_fraction=0.5), seed=1)
