from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuning.data.readers import ENDINGS, ending, read_file
from tuning.errors import DataError

ROWS = [{"question": "1+1?", "answer": "2"}, {"question": "2+2?", "answer": "4"}]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.jsonl", "\n".join(json.dumps(row) for row in ROWS)),
        ("crlf.jsonl", "\ufeff" + LINES.replace("\n", "\r\n") + "\n   \n"),
        ("a.json", json.dumps(ROWS)),
        ("indented.json", f"\n{json.dumps(ROWS, indent=1)}\n"),
        ("wrapped.json", json.dumps({"version": 1, "data": ROWS})),
        ("columns.json", json.dumps({"question": ["1+1?", "2+2?"], "answer": ["2", "4"]}, indent=1)),
        ("lines.json", LINES),
        ("a.csv", "question,answer\n1+1?,2\n2+2?,4\n"),
        ("quoted.csv", '"question","answer"\n"1+1?","2"\n\n"2+2?","4"'),
        ("semicolon.csv", "question;answer\n1+1?;2\n2+2?;4\n"),
        ("tab.csv", "question\tanswer\n1+1?\t2\n2+2?\t4\n"),
        ("bar.csv", "question|answer\n1+1?|2\n2+2?|4\n"),
        ("a.tsv", "question\tanswer\n1+1?\t2\n2+2?\t4\n"),
    ],
)
def test_every_layout_of_text_gives_the_same_rows(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert list(read_file(tmp_path / name)) == ROWS


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_compressed_files_are_read_as_they_were(tmp_path: Path, name: str) -> None:
    packed = tmp_path / f"{name}.gz", tmp_path / f"{name}.zst"
    packed[0].write_bytes(gzip.compress(LINES.encode()))
    packed[1].write_bytes(pyarrow.compress(LINES.encode(), "zstd", asbytes=True))
    assert [list(read_file(file)) for file in packed] == [ROWS, ROWS]


@pytest.mark.parametrize("text", ["", " \n", "\ufeff", "[]", "[ ]\n"])
def test_a_file_may_be_empty(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    assert list(read_file(tmp_path / "a.json")) == []


def test_cells_may_hold_delimiters_quotes_line_ends_and_much_text(tmp_path: Path) -> None:
    values = {"text": 'a, "b"\r\n' + "word " * 40_000, "label": ""}
    cells = ",".join('"' + value.replace('"', '""') + '"' for value in values.values())
    (tmp_path / "a.csv").write_text(f"text,label\n{cells}\n", encoding="utf-8", newline="")
    assert list(read_file(tmp_path / "a.csv")) == [values]


def test_unusual_characters_and_elements_stay_as_they_are(tmp_path: Path) -> None:
    rows: list[Any] = [{"a": "\u2028\u0085\u0000\u202e"}, 3, None, ["x"], {"a": {"b": [1.5, True]}}]
    (tmp_path / "a.json").write_text(json.dumps(rows), encoding="utf-8")
    assert list(read_file(tmp_path / "a.json")) == rows


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.jsonl", b'{"a": 1}\n\n{"a": \n', "row 2: not JSON: Expecting value at column 6"),
        ("a.jsonl", b'{"a": 1, "b": 2, "a": 2}\n', "row 1: the key a stands more than once; keep one"),
        ("a.jsonl", b'{"a": {"b": 1, "b": 2}}\n', "row 1: the key b stands more than once; keep one"),
        ("a.jsonl", b'{"a": "x"}\n' * 2000 + b'{"a": "\xe9"}\n', "not UTF-8 at byte 22007 (line 2001); save it as"),
        ("a.jsonl", b'\xef\xbb\xbf{"a": "\xe9"}', "not UTF-8 at byte 10 (line 1)"),
        ("a.jsonl", "a".encode("utf-16"), "not UTF-8 at byte 0 (line 1)"),
        ("a.json", b'[{"a": 1}, {"a": }]', "row 2: not JSON: Expecting value at line 1, column 18"),
        ("a.json", b'[{"a": 1}, {"a": 1, "a": 2}]', "row 2: the key a stands more than once; keep one"),
        ("a.json", b'[{"a": 1} {"a": 2}]', "row 1: not JSON: a comma or the end of the array is missing after it"),
        ("a.json", b'[{"a": 1}', "row 1: not JSON: a comma or the end of the array is missing after it"),
        ("a.json", b'[{"a": 1}] x', "something follows the end of the document in line 1"),
        ("a.json", b'{"a": 1}\n{"a": }\n', "row 2: not JSON: Expecting value at column 7"),
        ("a.json", b'{"rows": [{"a": 1}]}', "expected an array of rows, an object with the rows under 'data', or"),
        ("a.json", b'{"a": ["x", "y"], "b": ["z"]}', "the columns differ in length: a has 2, b has 1"),
        ("a.json", b'"text"', "expected an array of rows"),
        ("a.json", b"[" * 100_000, "cannot be read"),
        ("a.csv", b"a,b,a\n1,2,3\n", "the header names a more than once; rename one"),
        ("a.csv", b"a,b\n1,2\n1\n", "row 2: has 1 cells where the header has 2; column b is missing"),
        ("a.csv", b"a;b\n1;2;3\n", "row 1: has 3 cells where the header has 2; the last has no column"),
        ("a.csv", b'a,b\n"1"x,2\n', "line 2: not CSV"),
        ("a.parquet", b"no parquet", "cannot be read"),
        ("a.arrow", b"no arrow", "cannot be read"),
        ("a.jsonl.gz", b"no gzip", "cannot be read"),
        ("a.jsonl.zst", b"no zstd", "cannot be read"),
        ("a.jsonl.gz", gzip.compress(b'{"a": 1}\n' * 100, mtime=0)[:-9], "cannot be read"),
        ("a.jsonl.gz", gzip.compress(b'{"a": "\xe9"}', mtime=0), "not UTF-8 at byte 7 (line 1)"),
    ],
)
def test_a_faulty_file_is_refused_by_name_and_place(tmp_path: Path, name: str, content: bytes, told: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        list(read_file(tmp_path / name))
    assert f"{name}" in str(error.value) and told in str(error.value)


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "stream.arrow"])
def test_a_column_that_stands_twice_in_a_table_is_refused(tmp_path: Path, name: str) -> None:
    table = pyarrow.table([["x"], ["y"]], names=["a", "a"])
    if name == "a.parquet":
        pyarrow.parquet.write_table(table, tmp_path / name)
    else:
        writer = pyarrow.ipc.new_file if name == "a.arrow" else pyarrow.ipc.new_stream
        with writer(str(tmp_path / name), table.schema) as sink:
            sink.write_table(table)
    with pytest.raises(DataError, match="has the column a more than once"):
        list(read_file(tmp_path / name))


def test_the_rows_before_a_fault_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(LINES + "{")
    rows = read_file(tmp_path / "a.jsonl")
    assert [next(rows), next(rows)] == ROWS


def test_an_ending_tells_the_layout_and_the_packing() -> None:
    assert [ending(Path(name)) for name in ("a.JSONL", "b.x.csv.gz", "c.txt", "d.gz")] == [
        ".jsonl",
        ".csv.gz",
        ".txt",
        ".gz",
    ]
    assert {".json", ".jsonl", ".csv", ".tsv", ".parquet", ".arrow", ".jsonl.zst"} <= set(ENDINGS)


ALMOST_ROWS = st.text('[]{},:"ab;\t\n\r 1\ufeff\\', max_size=40).map(str.encode)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(ENDINGS), st.binary(max_size=40) | ALMOST_ROWS)
def test_any_file_is_read_or_refused_by_name(tmp_path: Path, name: str, content: bytes) -> None:
    file = tmp_path / f"rows{name}"
    file.write_bytes(content)
    try:
        list(read_file(file))
    except DataError as error:
        assert str(file) in str(error)
