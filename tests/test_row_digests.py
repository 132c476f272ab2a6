from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import tuning.row_digests
from tuning.row_digests import changed_rows, row_digests


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    return path


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    return write(tmp_path / "rows.jsonl", list(range(20)))


def known(rows: Path) -> dict[str, Any]:
    digests = row_digests(rows)
    assert digests is not None
    return digests


def test_a_changed_row_is_named_and_shown(rows: Path) -> None:
    before = known(rows)
    write(rows, [*range(16), "other", *range(17, 20)])
    assert changed_rows(before, rows) == ['row 17 changed; it now reads {"text": "other"}']


def test_several_changed_rows_are_named_and_the_rest_counted(rows: Path) -> None:
    before = known(rows)
    write(rows, [f"new {row}" for row in range(20)])
    told = changed_rows(before, rows)
    assert told[0].startswith("row 1 changed") and told[5:] == ["and 15 more"]


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ([*range(2), *range(3, 20)], ["row 3 is gone"]),
        ([*range(18)], ["rows 19 to 20 are gone"]),
        ([*range(20), "more"], ["row 21 is new"]),
        (["first", *range(20)], ["row 1 is new"]),
        ([*range(5), *range(7, 20), "end"], ["rows 6 to 7 are gone", "row 19 is new"]),
        ([*range(4), "a", "b", *range(5, 20)], ["row 5 is gone, and rows 5 to 6 are in their place"]),
        ([], ["rows 1 to 20 are gone"]),
    ],
)
def test_rows_that_came_and_went_are_told_apart(rows: Path, now: list[Any], told: list[str]) -> None:
    before = known(rows)
    assert changed_rows(before, write(rows, now)) == told


def test_blank_lines_are_no_change_of_a_row(rows: Path) -> None:
    before = known(rows)
    rows.write_text(rows.read_text().replace("\n", "\n\n"))
    assert "every row is as it was" in changed_rows(before, rows)[0]


def test_rows_of_a_table_have_digests_too(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("text,n\na,1\nb,2\n")
    before = known(file)
    file.write_text("text,n\na,1\nb,3\n")
    assert changed_rows(before, file) == ['row 2 changed; it now reads {"n": "3", "text": "b"}']


def test_many_rows_share_digests(rows: Path) -> None:
    before = row_digests(rows, most_blocks=4)
    assert before is not None
    assert (before["rows_per_block"], len(before["digests"])) == (5, 4 * 4)
    write(rows, [*range(16), "other", *range(17, 20)])
    assert changed_rows(before, rows) == ["rows 16 to 20 hold a change"]


def test_a_large_file_is_known_by_its_sha256_alone(rows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning.row_digests, "_LARGEST_FILE_BYTES", 10)
    assert row_digests(rows) is None
