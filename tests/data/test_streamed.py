from __future__ import annotations

import json
import logging
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from made_tokenizers import encoding_of

from tuning.config.sections import Data
from tuning.data.skipped_rows import SKIPPED_FILE
from tuning.data.streamed import TokenStream, first_rows, open_stream
from tuning.errors import DataError
from tuning.sft_trainer import train

REFUSES_B = (
    "{% for m in messages %}{% if m.content == 'b' %}{{ raise_exception('no b') }}{% endif %}"
    "{{ m.content }}{% endfor %}"
)


def stream_of(folder: Path, rows: list[dict[str, Any]], chat_template: str | None = None, **data: Any) -> TokenStream:
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    section = Data(training_data_path=[str(folder / "rows.jsonl")], streaming=True, **data)
    encoding = encoding_of("byte_level")
    encoding = encoding if chat_template is None else replace(encoding, chat_template=chat_template)
    return TokenStream(open_stream(section, 1), encoding)


def said(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": text}]}


def places(file: Path) -> list[str]:
    return [json.loads(line)["place"].rpartition("/")[2] for line in file.read_text().splitlines()]


def test_one_pass_follows_another_in_the_same_order(tmp_path: Path) -> None:
    stream = stream_of(tmp_path, [{"text": f"a{number}"} for number in range(3)])
    ids = [tokens["input_ids"] for tokens in islice(stream, 8)]
    assert ids == [*ids[:3], *ids[:3], *ids[:2]] and ids[0] != ids[1]


def test_a_pass_without_anything_to_train_on_ends_the_stream(tmp_path: Path) -> None:
    stream = stream_of(tmp_path, [{"prompt": "1 + 1 =", "completion": "2"}] * 3)
    stream = replace(stream, encoding=encoding_of("byte_level", max_length=2))
    with pytest.raises(DataError, match="none of the 3 rows that are streamed has anything to train on"):
        next(iter(stream))


def test_a_row_that_is_left_out_is_told_in_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stream = stream_of(tmp_path, [*[{"text": "a"}] * 40, {"text": None}])
    with caplog.at_level(logging.WARNING):
        list(islice(stream, 90))
    told = [message for message in caplog.messages if message.startswith("a row is left out")]
    assert told == [f"a row is left out: {tmp_path / 'rows.jsonl'} row 41: column text: expected text, got NoneType"]


def test_rows_that_are_left_out_are_listed_once_and_not_again_where_they_are_listed(tmp_path: Path) -> None:
    rows = [*[said("c")] * 50, said("b"), {"messages": None}, said("b")]
    stream = stream_of(tmp_path, rows, REFUSES_B, max_skipped_share=0.1)
    listed = first_rows(stream.rows).skipped
    assert [item.place.rpartition("/")[2] for item in listed] == ["rows.jsonl row 52"]
    assert len(list(islice(stream.listing_skipped(listed, tmp_path), 120))) == 120
    assert places(tmp_path / SKIPPED_FILE) == ["rows.jsonl row 51", "rows.jsonl row 53"]


def test_rows_that_the_template_refuses_count_towards_those_that_may_be_left_out(tmp_path: Path) -> None:
    stream = stream_of(tmp_path, [said("c"), *[said("b")] * 3], REFUSES_B)
    with pytest.raises(DataError, match="3 of 4 rows cannot be trained on; max_skipped_share allows 5%"):
        list(islice(stream, 2))


def test_the_first_rows_say_how_many_were_read_and_left_out(tmp_path: Path) -> None:
    stream = stream_of(tmp_path, [*[{"text": "a"}] * 40, {"text": None}])
    found = first_rows(stream.rows)
    assert (len(found.train), len(found.skipped), found.num_read) == (40, 1, 41)


@pytest.mark.slow
def test_fewer_rows_than_a_step_takes_are_streamed_again_and_a_resumed_run_goes_on_in_the_same_order(
    tiny_model: Path, tmp_path: Path
) -> None:
    rows = [{"prompt": f"Say {number}: ", "completion": str(number)} for number in range(40)]
    rows.append({"prompt": "Say", "completion": ""})
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    settings = {
        **{"model_name_or_path": str(tiny_model), "training_data_path": str(tmp_path / "rows.jsonl")},
        **{"streaming": True, "max_steps": 2, "save_steps": 1, "per_device_train_batch_size": 4},
        **{"gradient_accumulation_steps": 16, "learning_rate": 0.01, "output_dir": str(tmp_path / "out")},
        **{"dataset_prepared_path": str(tmp_path / "kept"), "recommend": False, "use_cpu": True, "bf16": False},
    }
    unbroken = (train(settings).model_folder / "model.safetensors").read_bytes()
    for file in sorted((tmp_path / "out" / "checkpoint-2").iterdir()):
        file.unlink()
    (tmp_path / "out" / "checkpoint-2").rmdir()
    assert (train(settings).model_folder / "model.safetensors").read_bytes() == unbroken
    assert places(tmp_path / "out" / SKIPPED_FILE) == ["rows.jsonl row 41"]
