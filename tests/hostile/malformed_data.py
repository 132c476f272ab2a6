"""Malformed files of rows for `tune run`: each with a part of its one message, which names the file or the column."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
from malformed import ROW, Case, field, looped, rows, words
from malformed_configs import PICKLE

TABLE = pyarrow.table({"prompt": ["a"] * 50, "completion": ["b"] * 50})
CHAT = '{"messages": [%s, {"role": "assistant", "content": "b"}]}\n'
USER = '{"role": "user", "content": "a"}'


def parquet(table: pyarrow.Table = TABLE) -> bytes:
    """Write a table as parquet."""
    sink = io.BytesIO()
    pyarrow.parquet.write_table(table, sink)
    return sink.getvalue()


def arrow() -> bytes:
    """Write the table in Arrow's stream layout."""
    sink = io.BytesIO()
    with pyarrow.ipc.new_stream(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return sink.getvalue()


def zstandard(content: bytes) -> bytes:
    """Compress as `.zst` files are."""
    return pyarrow.compress(content, codec="zstd", asbytes=True)


def made(change: Callable[[Path], Any], name: str) -> tuple[tuple[str, ...], Callable[[Path], Any]]:
    """Name rows that a function makes."""
    return ("run.json", f"training_data_path={name}"), change


def piped(folder: Path) -> None:
    """Make a pipe that nobody writes to."""
    os.mkfifo(folder / "pipe.jsonl")


def folder_named_as_a_file(folder: Path) -> None:
    """Make an empty folder with the name of a file of rows."""
    (folder / "rows2.jsonl").mkdir()


def folder_of(name: str, content: bytes) -> Callable[[Path], Any]:
    """Make a folder of good rows and one other file."""

    def make(folder: Path) -> None:
        (folder / "rows").mkdir()
        (folder / "rows" / "a.jsonl").write_text(ROW)
        (folder / "rows" / name).write_bytes(content)

    return make


def link_to_nothing(folder: Path) -> None:
    """Make a link whose target is gone."""
    (folder / "gone.jsonl").symlink_to(folder / "nothing.jsonl")


def folders_in_a_circle(folder: Path) -> None:
    """Make a folder that holds a link to itself, and no rows."""
    (folder / "circle").mkdir()
    (folder / "circle" / "again").symlink_to(folder / "circle")


PACKED = gzip.compress((ROW * 50).encode(), mtime=0)

LINES: dict[str, Case] = {
    "empty": Case("rows.jsonl", *rows("")),
    "blank lines": Case("rows.jsonl", *rows("\n \n\n")),
    "a torn row": Case("rows.jsonl row 4: not JSON", *rows(ROW * 3 + '{"prompt": "a", "comp')),
    "a torn first row": Case("rows.jsonl row 1: not JSON", *rows('{"prompt": "a", "comp\n' + ROW)),
    "no UTF-8": Case("rows.jsonl: not UTF-8 at byte", *rows(ROW.encode() + b'{"prompt": "\xff"}\n')),
    "UTF-16": Case("rows.jsonl: not UTF-8 at byte 0", *rows(ROW.encode("utf-16"))),
    "null bytes": Case("rows.jsonl row 2: not JSON", *rows(ROW + "\0\0\0\n")),
    "a null byte in a row": Case("rows.jsonl row 1: not JSON", *rows('{"prompt": "a\0", "completion": "b"}\n')),
    "a pickle": Case("rows.jsonl: not UTF-8", *rows(PICKLE)),
    "a deep row": Case("rows.jsonl", *rows(ROW + '{"prompt":' * 50_000 + "\n")),
    "a deep list": Case("rows.jsonl", *rows(ROW + '{"prompt": ' + "[" * 100_000 + "\n")),
    "a number of 5,000 digits": Case("rows.jsonl", *rows('{"prompt": 1' + "0" * 5000 + ', "completion": "b"}\n')),
    "a key twice": Case("the key prompt stands more than once", *rows('{"prompt": "a", "prompt": "b"}\n')),
    "NaN": Case("rows.jsonl row 1", *rows('{"prompt": NaN, "completion": "b"}\n')),
    "Infinity": Case("rows.jsonl row 1", *rows('{"prompt": Infinity, "completion": -Infinity}\n')),
    "numbers": Case("column prompt: expected text, got int", *rows('{"prompt": 1, "completion": 2}\n')),
    "null": Case("column completion", *rows('{"prompt": "a", "completion": null}\n')),
    "lists": Case("rows.jsonl row 1", *rows('{"prompt": ["a"], "completion": {"b": 1}}\n')),
    "an empty completion": Case("column completion: is empty", *rows('{"prompt": "a", "completion": " "}\n')),
    "a lone surrogate": Case("lone surrogate", *rows('{"prompt": "\\ud800", "completion": "b"}\n')),
    "a mark of our own": Case("a character that no text may hold", *rows('{"prompt": "\ufdd0", "completion": "b"}\n')),
    "rows that are lists": Case("rows.jsonl", *rows("[1, 2]\n[3]\n")),
    "rows that are texts": Case("rows.jsonl", *rows('"a"\n"b"\n')),
    "rows without columns": Case("rows.jsonl", *rows("{}\n{}\n")),
    "no known columns": Case("no format fits the columns", *rows('{"x": 1}\n')),
    "other columns later": Case("column prompt: is missing", *rows(ROW + '{"x": 1}\n' * 5)),
    "two rows on a line": Case("rows.jsonl row 1: not JSON", *rows(ROW.strip() + ROW)),
    "no text at all": Case("there is no column text", *rows('{"body": 1}\n', "rows.jsonl", "dataset_text_field=text")),
    "a template that fails": Case(
        "data_formatter_template", *words("data_formatter_template={{ 1 / 0 }}", "response_template=:")
    ),
    "a template that escapes": Case(
        "data_formatter_template",
        *words("data_formatter_template={{ prompt.__class__.__mro__[1].__subclasses__() }}", "response_template=:"),
    ),
    "a template without end": Case(
        "data_formatter_template",
        *words("data_formatter_template={% for a in range(10 ** 9) %}a{% endfor %}", "response_template=:"),
    ),
    "a template of huge text": Case(
        "data_formatter_template", *words("data_formatter_template={{ 'a' * 10 ** 10 }}", "response_template=:")
    ),
    "a template that calls itself": Case(
        "data_formatter_template",
        *words("data_formatter_template={% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "response_template=:"),
    ),
    "messages that are a text": Case("rows.jsonl row 1", *rows('{"messages": "hello"}\n')),
    "messages of nobody": Case("rows.jsonl row 1", *rows('{"messages": []}\n')),
    "a message that is a text": Case("rows.jsonl row 1", *rows('{"messages": ["hello"]}\n')),
    "an unknown role": Case("rows.jsonl row 1", *rows(CHAT % '{"role": 7, "content": "a"}')),
    "no answer": Case("rows.jsonl row 1", *rows('{"messages": [' + USER + "]}\n")),
    "content that is a number": Case("rows.jsonl row 1", *rows(CHAT % '{"role": "user", "content": 7}')),
    "tools that are a number": Case("rows.jsonl row 1", *rows('{"tools": 7, ' + (CHAT % USER)[1:])),
    "ids that are texts": Case("column input_ids", *rows('{"input_ids": ["a"]}\n')),
    "ids below nothing": Case("column input_ids: holds -1", *rows('{"input_ids": [-1, 2]}\n')),
    "ids of 30 digits": Case("input_ids", *rows('{"input_ids": [1%s]}\n' % ("0" * 30))),
    "labels of another length": Case("column labels: has 1", *rows('{"input_ids": [1, 2], "labels": [1]}\n')),
    "labels of 30 digits": Case("labels", *rows('{"input_ids": [1, 2], "labels": [1, 1%s]}\n' % ("0" * 30))),
    "a mask of sevens": Case("column attention_mask: holds 7", *rows('{"input_ids": [1], "attention_mask": [7]}\n')),
}

TABLES: dict[str, Case] = {
    "an array that is torn": Case("rows.json row 2", *rows('[{"prompt": "a", "completion": "b"}, {"pro', "rows.json")),
    "an array without its end": Case("rows.json row 1", *rows("[" + ROW, "rows.json")),
    "something after the end": Case("something follows the end", *rows(f"[{ROW}] x", "rows.json")),
    "a number": Case("rows.json", *rows("7", "rows.json")),
    "an empty array": Case("rows.json", *rows("[]", "rows.json")),
    "rows under another key": Case("rows.json: expected an array of rows", *rows('{"rows": [1]}', "rows.json")),
    "columns of other lengths": Case("the columns differ", *rows('{"prompt": ["a"], "completion": []}', "rows.json")),
    "a deep document": Case("rows.json", *rows("[" * 200_000, "rows.json")),
    "an empty CSV": Case("rows.csv", *rows("", "rows.csv")),
    "a header alone": Case("rows.csv", *rows("prompt,completion\n", "rows.csv")),
    "a header twice": Case("names prompt more than once", *rows("prompt,prompt\na,b\n", "rows.csv")),
    "a cell too few": Case("rows.csv row 2", *rows("prompt,completion\na,b\na\n", "rows.csv")),
    "a cell too many": Case("rows.csv row 1", *rows("prompt,completion\na,b,c\n", "rows.csv")),
    "a quote without end": Case("rows.csv line", *rows('prompt,completion\n"a,b\n', "rows.csv")),
    "a quote in the middle": Case("rows.csv line 2", *rows('prompt,completion\n"a"x,b\n', "rows.csv")),
    "null bytes in CSV": Case("rows.csv", *rows(b"prompt,completion\n\0,\0\n\0\0", "rows.csv")),
    "no UTF-8 in CSV": Case("rows.csv: not UTF-8", *rows(b"prompt,completion\n\xff,b\n", "rows.csv")),
    "TSV that is CSV": Case("rows.tsv", *rows("prompt,completion\na,b\n", "rows.tsv")),
    "parquet of no bytes": Case("rows.parquet: cannot be read", *rows(b"", "rows.parquet")),
    "parquet that is none": Case("rows.parquet: cannot be read", *rows(b"PAR1" * 8, "rows.parquet")),
    "parquet that is cut": Case("rows.parquet: cannot be read", *rows(parquet()[:-100], "rows.parquet")),
    "parquet without its start": Case("rows.parquet", *rows(parquet()[100:], "rows.parquet")),
    "parquet that is damaged": Case(
        "rows.parquet: cannot be read", *rows(parquet()[:20] + b"\xff" * 60 + parquet()[80:], "rows.parquet")
    ),
    "parquet with a footer beyond it": Case(
        "rows.parquet: cannot be read", *rows(parquet()[:-8] + b"\xff\xff\xff\x7fPAR1", "rows.parquet")
    ),
    "parquet of numbers": Case(
        "column prompt: expected text",
        *rows(parquet(pyarrow.table({"prompt": [1], "completion": [2]})), "rows.parquet"),
    ),
    "parquet of bytes": Case(
        "rows.parquet row 1", *rows(parquet(pyarrow.table({"prompt": [b"\xff"], "completion": ["b"]})), "rows.parquet")
    ),
    "parquet without rows": Case("rows.parquet", *rows(parquet(TABLE.slice(0, 0)), "rows.parquet")),
    "Arrow of no bytes": Case("rows.arrow: cannot be read", *rows(b"", "rows.arrow")),
    "Arrow that is none": Case("rows.arrow: cannot be read", *rows(b"ARROW1\0\0" * 8, "rows.arrow")),
    "Arrow that is cut": Case("rows.arrow: cannot be read", *rows(arrow()[: len(arrow()) // 2], "rows.arrow")),
    "Arrow whose lengths lie": Case("rows.arrow", *rows(b"\xff\xff\xff\xff\xff\xff\xff\x7f" * 9, "rows.arrow")),
    "gzip of no bytes": Case("rows.jsonl.gz", *rows(b"", "rows.jsonl.gz")),
    "gzip that is none": Case("rows.jsonl.gz: cannot be read", *rows(ROW, "rows.jsonl.gz")),
    "gzip that is cut": Case("rows.jsonl.gz: cannot be read", *rows(PACKED[:-6], "rows.jsonl.gz")),
    "gzip that is damaged": Case("rows.jsonl.gz", *rows(PACKED[:20] + b"\xff" * 8 + PACKED[28:], "rows.jsonl.gz")),
    "gzip with a wrong sum": Case("rows.jsonl.gz: cannot be read", *rows(PACKED[:-8] + b"\0" * 8, "rows.jsonl.gz")),
    "gzip of another thing": Case("rows.csv.gz", *rows(gzip.compress(PICKLE, mtime=0), "rows.csv.gz")),
    "zstd of no bytes": Case("rows.jsonl.zst", *rows(b"", "rows.jsonl.zst")),
    "zstd that is none": Case("rows.jsonl.zst: cannot be read", *rows(ROW, "rows.jsonl.zst")),
    "zstd that is cut": Case("rows.jsonl.zst", *rows(zstandard((ROW * 50).encode())[:-6], "rows.jsonl.zst")),
    "zstd of no UTF-8": Case("rows.jsonl.zst: not UTF-8", *rows(zstandard(b"\xff\xfe\n"), "rows.jsonl.zst")),
}

PLACES: dict[str, Case] = {
    "no file": Case("data.training_data_path: got 'none.jsonl'", *words("training_data_path=none.jsonl")),
    "no file among several": Case("none.jsonl", *words('training_data_path=["rows.jsonl","none.jsonl"]')),
    "an ending that is not known": Case("cannot read a '.xlsx' file", *rows(b"PK", "rows.xlsx")),
    "no ending": Case("data.training_data_path", *rows(ROW, "rows")),
    "a pickle file": Case("cannot read a '.pkl' file", *rows(pickle.dumps([{"a": 1}]), "rows.pkl")),
    "a device": Case("data.training_data_path", *words("training_data_path=/dev/zero")),
    "a pipe": Case("pipe.jsonl", *made(piped, "pipe.jsonl")),
    "a pipe in a folder": Case("data.training_data_path", *made(piped, "*.jsonl.none")),
    "a folder with a file's name": Case("rows2.jsonl", *made(folder_named_as_a_file, "rows2.jsonl")),
    "an empty folder": Case("no data file is there", *words("training_data_path=model/inner")),
    "a folder with a torn file": Case("b.parquet: cannot be read", *made(folder_of("b.parquet", b"PAR1"), "rows")),
    "a folder with other rows": Case("rows", *made(folder_of("b.jsonl", b'{"x": 1}\n' * 9), "rows")),
    "links in a circle": Case("loop.json", *made(looped, "loop.json")),
    "a link to nothing": Case("gone.jsonl", *made(link_to_nothing, "gone.jsonl")),
    "folders in a circle": Case("no data file is there", *made(folders_in_a_circle, "circle")),
    "a pattern that fits nothing": Case("no data file is there", *words("training_data_path=none-*.jsonl")),
    "a null byte": Case("data.training_data_path", *field(training_data_path="rows\0.jsonl")),
    "a name of 5,000 letters": Case("data.training_data_path", *field(training_data_path="r" * 5000 + ".jsonl")),
    "the home of nobody": Case("data.training_data_path", *words("training_data_path=~nobody-here/rows.jsonl")),
    "held-out rows that are not there": Case("data.validation_data_path", *words("validation_data_path=none.jsonl")),
    "held-out rows that are torn": Case(
        "held.jsonl row 1: not JSON",
        ("run.json", "validation_data_path=held.jsonl"),
        lambda folder: (folder / "held.jsonl").write_text('{"prompt'),
    ),
    "a split that is not there": Case("dataset_split", *made(folder_of("b.jsonl", ROW.encode()), "rows"))._replace(
        words=("run.json", "training_data_path=rows", "dataset_split=test")
    ),
    "a column that is not there": Case("there is no column body", *words("dataset_text_field=body")),
    "a format that does not fit": Case("rows.jsonl", *words("data_format=chat")),
    "too many skipped": Case("max_skipped_share", *rows(ROW + '{"prompt": "a", "completion": 7}\n')),
    "streamed rows that are torn": Case("rows.jsonl", *rows('{"prompt', "rows.jsonl", "streaming=true", "max_steps=1")),
    "streamed rows of no known kind": Case(
        "no format fits", *rows(json.dumps({"x": 1}) + "\n", "rows.jsonl", "streaming=true", "max_steps=1")
    ),
}

ALL = {
    f"{about}: {name}": case
    for about, cases in (("rows", LINES), ("tables", TABLES), ("places", PLACES))
    for name, case in cases.items()
}
