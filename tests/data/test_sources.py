from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuning.config.building import build_config
from tuning.config.loading import load_mapping
from tuning.data.sources import Row, Skipped, files_of, missing_sources, read_rows

ROWS = [{"question": "1+1?", "answer": "2"}, {"question": "2+2?", "answer": "4"}]


def read(path: Path | str) -> list[dict[str, Any]]:
    rows = list(read_rows([str(path)]))
    assert all(isinstance(row, Row) for row in rows)
    return [row.values for row in rows if isinstance(row, Row)]


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


def test_a_row_that_is_no_object_is_skipped_and_the_others_are_read(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text('[1]\n{"a": "b"}\nnull\n')
    assert list(read_rows([str(file)])) == [
        Skipped(f"{file} row 1", "expected an object with columns, got list"),
        Row(f"{file} row 2", {"a": "b"}),
        Skipped(f"{file} row 3", "expected an object with columns, got NoneType"),
    ]


def test_rows_that_hold_rows_are_laid_flat_with_the_columns_around_them(tmp_path: Path) -> None:
    file = tmp_path / "squad.json"
    qas = [{"id": "1", "question": "q1", "answers": []}, {"id": "2", "question": "q2", "answers": []}]
    file.write_text(json.dumps({"data": [{"title": "t", "paragraphs": [{"context": "c", "qas": qas}]}]}))
    assert list(read_rows([str(file)])) == [
        Row(f"{file} row 1, paragraph 1, qa {number}", {"title": "t", "context": "c", **qa})
        for number, qa in enumerate(qas, start=1)
    ]


def test_instances_are_laid_flat_and_one_that_is_no_object_is_skipped(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps({"instruction": "x", "instances": [{"input": "", "output": "y"}, "z"]}))
    first, second = read_rows([str(file)])
    assert first == Row(f"{file} row 1, instance 1", {"instruction": "x", "input": "", "output": "y"})
    assert second == Skipped(f"{file} row 1, instance 2", "column instances: expected a list of objects, got str")


def test_a_list_of_the_same_name_that_holds_no_rows_is_a_column_like_others(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "t", "instances": ["a"], "paragraphs": 3}')
    assert read(tmp_path / "a.jsonl") == [{"text": "t", "instances": ["a"], "paragraphs": 3}]


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


@pytest.fixture
def splits(tmp_path: Path) -> Path:
    """A folder of three splits, with a copy that a notebook has made."""
    names = ("train.jsonl", "test-00000.jsonl", "validation/a.jsonl", ".ipynb_checkpoints/train-checkpoint.jsonl")
    for name in (*names, ".train.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"text": "a"}\n')
    return tmp_path


@pytest.mark.parametrize(
    ("split", "names"),
    [
        ("train", ["train.jsonl"]),
        ("test", ["test-00000.jsonl"]),
        ("validation", ["validation/a.jsonl"]),
        (None, ["test-00000.jsonl", "train.jsonl", "validation/a.jsonl"]),
    ],
)
def test_of_a_folder_a_split_is_the_files_that_are_named_after_it(
    splits: Path, split: str | None, names: list[str]
) -> None:
    found = files_of([str(splits)], split) or []
    assert [file.relative_to(splits).as_posix() for file in found] == names
    assert len(list(read_rows([str(splits)], split))) == len(names)


def test_train_is_all_files_of_a_folder_that_names_no_split_and_none_of_one_that_names_others(splits: Path) -> None:
    (splits / "train.jsonl").rename(splits / "validation" / "b.jsonl")
    assert files_of([str(splits)], "train") == []
    assert files_of([str(splits / "validation")], "train") == [
        splits / "validation" / name for name in ("a.jsonl", "b.jsonl")
    ]


def test_a_split_that_no_file_of_a_folder_is_named_after_is_refused(splits: Path) -> None:
    (splits / "train.jsonl").unlink()
    settings = {
        "model_name_or_path": "m",
        "training_data_path": str(splits),
        "output_dir": "o",
        "dataset_split": "train",
    }
    (problem,) = missing_sources(build_config(load_mapping(settings).ir))
    assert problem.path == "data.dataset_split"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"task_type": "rags"}, "data.task_type: there is no task type 'rags'. Did you mean 'rag'?"),
        ({"task_type": "text"}, "data.training_data_path: training data is required; task_type text has no rows"),
        ({"datasets": [{"data_paths": ["owner/rows"], "task_type": "?"}]}, "data.datasets[0].task_type: there is no"),
    ],
)
def test_a_task_type_that_cannot_be_is_told_with_all_other_problems(settings: dict[str, Any], told: str) -> None:
    config = build_config(load_mapping({"model_name_or_path": "m", "output_dir": "o", **settings}).ir)
    (problem,) = missing_sources(config)
    assert str(problem).startswith(told)


def test_a_task_type_with_rows_of_its_own_needs_no_path() -> None:
    settings = {"model_name_or_path": "m", "output_dir": "o", "task_type": "chat"}
    assert not list(missing_sources(build_config(load_mapping(settings).ir)))
