"""Any file of rows is refused by name, or gives rows; any row is taken, or left out with a reason."""

from __future__ import annotations

import gzip
import io
import json
import os
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutations import ROWS, damaged

from tuning.config.sections import Data
from tuning.data.rows import load_rows
from tuning.data.sources import Row, Skipped, read_rows
from tuning.errors import UserError

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))
FUZZ = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize="FUZZ_EXAMPLES" not in os.environ,
)
REAL = [
    {"prompt": "Where does the heron wait?", "completion": "Beside the river."},
    {"prompt": "Say 42: é", "completion": "42"},
] * 3


def files() -> dict[str, bytes]:
    """Write the same rows in every format that can be read."""
    lines = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in REAL).encode()
    cells = ["prompt,completion", *(f'"{row["prompt"]}","{row["completion"]}"' for row in REAL)]
    table, parquet, stream, file = pyarrow.Table.from_pylist(REAL), io.BytesIO(), io.BytesIO(), io.BytesIO()
    pyarrow.parquet.write_table(table, parquet)
    for sink, opened in ((stream, pyarrow.ipc.new_stream), (file, pyarrow.ipc.new_file)):
        with opened(sink, table.schema) as writer:
            writer.write_table(table)
    return {
        "rows.jsonl": lines,
        "rows.json": json.dumps(REAL).encode(),
        "columns.json": json.dumps({"data": REAL}).encode(),
        "rows.csv": "\n".join(cells).encode(),
        "rows.tsv": "\n".join(cells).replace(",", "\t").encode(),
        "rows.jsonl.gz": gzip.compress(lines, mtime=0),
        "rows.jsonl.zst": pyarrow.compress(lines, codec="zstd", asbytes=True),
        "rows.parquet": parquet.getvalue(),
        "rows.arrow": stream.getvalue(),
        "file.arrow": file.getvalue(),
    }


FILES = files()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


def is_told(path: Path) -> bool:
    """Tell whether rows are refused with a message, or read."""
    try:
        found = load_rows(Data(training_data_path=[str(path)], max_skipped_share=0.9), seed=0)
    except UserError as error:
        return bool(str(error))
    return all(isinstance(row, Row) for row in found.train)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_of_rows(name: str, folder: Path) -> None:
    @FUZZ
    @given(damaged(FILES[name]))
    def holds(content: bytes) -> None:
        (folder / name).unlink(missing_ok=True)  # the one before may be mapped into memory still
        (folder / name).write_bytes(content)
        assert is_told(folder / name)

    holds()


@pytest.mark.slow
@given(rows=ROWS, as_lines=st.booleans())
@FUZZ
def test_any_values_under_real_columns(folder: Path, rows: list[Any], as_lines: bool) -> None:
    file = folder / ("any.jsonl" if as_lines else "any.json")
    file.write_text("\n".join(map(json.dumps, rows)) if as_lines else json.dumps(rows))
    assert is_told(file)


def test_the_rows_are_read_where_nothing_is_damaged(tmp_path: Path) -> None:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
        found = list(read_rows([str(tmp_path / name)]))
        assert len(found) == len(REAL) and not any(isinstance(row, Skipped) for row in found), name
