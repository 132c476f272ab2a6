from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pyarrow
import pytest
from made_tokenizers import encoding_of

from tuning.data.encoding import Encoding
from tuning.data.shards import write_shards
from tuning.data.sources import Row
from tuning.data.templates import CHATML

ROWS = [Row(f"rows.jsonl row {number + 1}", {"prompt": f"{number} +", "completion": "1"}) for number in range(25)]


def table(files: list[Path]) -> pyarrow.Table:
    return pyarrow.concat_tables(pyarrow.ipc.open_stream(file.read_bytes()).read_all() for file in files)


@pytest.mark.parametrize("num_processes", [1, 3])
def test_shards_hold_the_rows_in_order_whatever_the_number_of_processes(tmp_path: Path, num_processes: int) -> None:
    encoding = encoding_of("byte_level")
    files, refused = write_shards(ROWS, encoding, tmp_path, "train", num_processes)
    found = table(files)
    expected = list(encoding.token_rows(row.values for row in ROWS))
    assert (len(files), refused) == (num_processes, [])
    assert found["row"].to_pylist() == list(range(25))
    assert found["input_ids"].to_pylist() == [row.input_ids for row in expected]
    assert found["labels"].to_pylist() == [row.labels for row in expected]
    assert {path.name for path in tmp_path.iterdir()} == {file.name for file in files}


def test_a_row_that_the_template_refuses_is_named_by_the_process_that_met_it(tmp_path: Path) -> None:
    template = "{% if messages[0]['content'] == 'no' %}{{ raise_exception('not this one') }}{% endif %}" + CHATML
    encoding = Encoding(**{**vars(encoding_of("byte_level")), "chat_template": template})
    texts = ["yes", "yes", "no", "yes"]
    talks = [[{"role": "user", "content": text}, {"role": "assistant", "content": "so"}] for text in texts]
    rows = [Row(f"row {number}", {"messages": talk}) for number, talk in enumerate(talks)]
    files, refused = write_shards(rows, encoding, tmp_path, "train", 2)
    assert [one.place for one in refused] == ["row 2"] and "not this one" in refused[0].reason
    assert table(files)["row"].to_pylist() == [0, 1, 3]


def test_rows_with_values_that_json_does_not_hold_are_tokenized_by_one_process(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "When?", "at": datetime(2026, 11, 21)}, {"role": "assistant", "content": "Now"}]
    rows = [Row(f"row {number}", {"messages": talk, "raw": b""}) for number in range(4)]
    encoding = encoding_of("byte_level")
    files, refused = write_shards(rows, encoding, tmp_path, "train", 3)
    assert refused == [] and sorted(tmp_path.iterdir()) == files and len(files) == 1
    assert table(files)["input_ids"].to_pylist() == [
        row.input_ids for row in encoding.token_rows(row.values for row in rows)
    ]


def test_a_process_that_tokenizes_imports_no_torch() -> None:
    heavy = "{'torch', 'transformers', 'datasets'}"
    code = f"import sys, tuning.data.shards, tokenizers, pyarrow, jinja2; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_process_that_tokenizes_ends_when_the_one_that_started_it_does() -> None:
    code = "import time; from tuning.data import shards; shards._end_with_parent(); print(); time.sleep(60)"
    command = [sys.executable, "-uc", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdout.readline()
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(timeout=30) == 1
