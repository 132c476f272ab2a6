from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuning.config.building import build_config
from tuning.config.loading import load_mapping
from tuning.data.sources import files_of, missing_sources, read_rows
from tuning.errors import DataError

ROWS = [{"question": "1+1?", "answer": "2"}, {"question": "2+2?", "answer": "4"}]


def read(path: Path | str) -> list[dict[str, Any]]:
    return [row.values for row in read_rows([str(path)])]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", "\n".join(json.dumps(row) for row in ROWS)),
        ("a.json", json.dumps(ROWS)),
        ("wrapped.json", json.dumps({"data": ROWS})),
        ("lines.json", "\n\n".join(json.dumps(row) for row in ROWS) + "\n"),
        ("a.csv", "question,answer\n1+1?,2\n2+2?,4\n"),
        ("bom.csv", "\ufeffquestion,answer\r\n1+1?,2\r\n2+2?,4\r\n"),
    ],
)
def test_text_files_give_their_rows(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert read(tmp_path / name) == ROWS


def test_parquet_and_both_arrow_layouts_give_their_rows(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist(ROWS)
    pq.write_table(table, tmp_path / "a.parquet")
    for name, writer in (("a.arrow", pa.ipc.new_file), ("stream.arrow", pa.ipc.new_stream)):
        with writer(str(tmp_path / name), table.schema) as sink:
            sink.write_table(table)
    assert [read(tmp_path / name) for name in ("a.parquet", "a.arrow", "stream.arrow")] == [ROWS] * 3


def test_a_folder_and_a_glob_give_all_their_files_in_order(tmp_path: Path) -> None:
    for name, row in zip(("b.jsonl", "a.jsonl"), ROWS, strict=True):
        (tmp_path / name).write_text(json.dumps(row))
    (tmp_path / "notes.txt").write_text("no rows")
    assert read(tmp_path) == read(tmp_path / "*.jsonl") == ROWS[::-1]


def test_a_row_knows_its_place(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps(row) for row in ROWS))
    assert [row.place for row in read_rows([str(tmp_path / "a.jsonl")])][1].endswith("a.jsonl row 2")


def test_a_line_separator_inside_a_row_does_not_end_it(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"text": "a\u2028b"}\n{"text": "c"}\n', encoding="utf-8")
    assert read(tmp_path / "a.json") == [{"text": "a\u2028b"}, {"text": "c"}]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.jsonl", b'{"a": 1}\n{"a": \n', "row 2: not JSON"),
        ("a.jsonl", b'{"a": 1, "a": 2}\n', "row 1: the key a stands more than once"),
        ("a.jsonl", b"[1]\n", "row 1: expected an object"),
        ("a.jsonl", b'{"a": "\xe9"}\n', "not UTF-8 at byte 7"),
        ("a.json", b'{"rows": 1}', "expected an array of rows"),
        ("a.csv", b"a,b,a\n1,2,3\n", "the header names a more than once"),
        ("a.csv", b"a,b\n1\n", "row 1: has 1 cells where the header has 2"),
        ("a.parquet", b"no parquet", "cannot be read"),
        ("a.arrow", b"no arrow", "cannot be read"),
    ],
)
def test_a_faulty_file_is_refused_by_name_and_row(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name) as error:
        read(tmp_path / name)
    assert told in str(error.value)


def test_only_a_name_that_can_be_no_file_is_a_hub_id(tmp_path: Path) -> None:
    assert files_of(["owner/dataset"]) is None
    (tmp_path / "a.jsonl").write_text("{}")
    assert files_of([str(tmp_path)]) == [tmp_path / "a.jsonl"]


@pytest.mark.parametrize("path", ["missing.jsonl", "./missing", "a/b/c", "nothing*.jsonl", "/no/such/folder"])
def test_a_path_that_leads_nowhere_is_told_before_anything_starts(path: str) -> None:
    settings = {"model_name_or_path": "m", "training_data_path": path, "output_dir": "o"}
    config = build_config(load_mapping(settings).ir)
    assert [problem.path for problem in missing_sources(config)] == ["data.training_data_path"]


@pytest.mark.parametrize(("split", "paths"), [("train[:10%]", ["data.dataset_split"]), ("train", []), (None, [])])
def test_a_split_is_refused_for_files_which_have_none(tmp_path: Path, split: str | None, paths: list[str]) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"text": "a"}\n')
    settings = {"model_name_or_path": "m", "training_data_path": str(file), "output_dir": "o", "dataset_split": split}
    config = build_config(load_mapping(settings).ir)
    assert [problem.path for problem in missing_sources(config)] == paths
