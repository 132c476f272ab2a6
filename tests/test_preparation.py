from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tuning.data.prepared_key import LOCKS
from tuning.errors import UserError
from tuning.preparation import Preparation, prepare
from tuning.sft_trainer import load_config

TALK = [
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "two"},
    {"role": "user", "content": "three"},
    {"role": "assistant", "content": "four"},
]
FORGETFUL = (
    "{% for message in messages %}{% if message['role'] == 'assistant' and not loop.last %}[left out]"
    "{% else %}<{{ message['role'] }}>{{ message['content'] }}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def words(model: Path, folder: Path, rows: list[dict[str, Any]], **settings: Any) -> list[str]:
    file = folder / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    given = {
        "model_name_or_path": model,
        "training_data_path": file,
        "output_dir": folder / "out",
        "dataset_prepared_path": folder / "kept",
        "validation_fraction": 0,
        "recommend": "false",
        "train_from_scratch": "true",
        **settings,
    }
    return [f"{name}={value}" for name, value in given.items()]


def prepared(model: Path, folder: Path, rows: list[dict[str, Any]], **settings: Any) -> Preparation:
    return prepare(load_config(words(model, folder, rows, **settings)).config)


def learned(preparation: Preparation) -> list[str]:
    labels = preparation.prepared.tables["train"].table["labels"].to_pylist()
    return [preparation.tokenizer.decode([label for label in row if label >= 0]) for row in labels]


def test_the_answers_of_a_conversation_are_learned(tiny_config_only_model: Path, tmp_path: Path) -> None:
    found = prepared(tiny_config_only_model, tmp_path, [{"messages": TALK}])
    assert learned(found) == ["two</s>four</s>"]
    assert found.prepared.is_chat and found.audit is not None


@pytest.mark.slow
def test_a_template_that_forgets_earlier_answers_makes_a_row_of_each_and_says_so(
    tiny_config_only_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    found = prepared(tiny_config_only_model, tmp_path, [{"messages": TALK}], chat_template=FORGETFUL)
    assert learned(found) == ["two</s>", "four</s>"]
    assert "2 rows of 1 conversations" in caplog.text


def test_all_of_a_conversation_is_learned_on_request(tiny_config_only_model: Path, tmp_path: Path) -> None:
    found = prepared(tiny_config_only_model, tmp_path, [{"messages": TALK}], assistant_only_loss="false")
    assert learned(found)[0].count("<|im_start|>user") == 2


def test_prompts_are_learned_on_request(tiny_config_only_model: Path, tmp_path: Path) -> None:
    rows = [{"prompt": "a", "completion": "b"}]
    assert learned(prepared(tiny_config_only_model, tmp_path, rows)) == ["b</s>"]
    assert learned(prepared(tiny_config_only_model, tmp_path, rows, completion_only_loss="false")) == ["ab</s>"]


def test_assistants_alone_cannot_be_learned_from_rows_in_which_nobody_speaks(
    tiny_config_only_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="are no conversations"):
        prepared(tiny_config_only_model, tmp_path, [{"text": "a"}], assistant_only_loss="true")


@pytest.mark.parametrize(("mode", "expected"), [("keep_start", "XZJ"), ("keep_end", "KJ</s>")])
def test_long_rows_are_cut_where_the_configuration_says(
    tiny_config_only_model: Path, tmp_path: Path, mode: str, expected: str
) -> None:
    rows = [{"prompt": "Q", "completion": "XZJKJ"}]
    settings = {"max_length": 4 if mode == "keep_start" else 3, "truncation_mode": mode}
    assert learned(prepared(tiny_config_only_model, tmp_path, rows, **settings)) == [expected]


@pytest.mark.parametrize(("strategy", "length"), [("bfd", 4), ("bfd_split", 11), ("wrapped", 11)])
def test_rows_are_not_cut_where_packing_splits_them(
    tiny_config_only_model: Path, tmp_path: Path, strategy: str, length: int
) -> None:
    settings = {"max_length": 4, "packing": "true", "packing_strategy": strategy}
    found = prepared(tiny_config_only_model, tmp_path, [{"text": "QXZJKVYUXZ"}], **settings)
    assert found.prepared.num_tokens() == length


def test_rows_with_nothing_left_to_learn_refuse_the_run_and_nothing_is_written(
    tiny_config_only_model: Path, tmp_path: Path
) -> None:
    rows = [{"prompt": "a prompt that fills the sequence", "completion": "b"}]
    with pytest.raises(UserError, match="1 of 1 rows have no response within max_length=4; raise it"):
        prepared(tiny_config_only_model, tmp_path, rows, max_length=4)
    assert not (tmp_path / "out").exists()


def test_streamed_rows_are_read_as_they_are_asked_for(tiny_config_only_model: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"{number} +", "completion": "1"} for number in range(1500)]
    found = prepared(tiny_config_only_model, tmp_path, rows, streaming="true", max_steps=1)
    assert found.prepared.num_rows("train") == 1000 and found.stream is not None
    expected = [f"{number} +1</s>" for number in range(1500)]
    for _ in range(2):
        two_passes = itertools.islice(found.stream, 3000)
        assert [found.tokenizer.decode(row["input_ids"]) for row in two_passes] == expected * 2


@pytest.mark.slow
def test_of_two_ranks_one_tokenizes_and_both_train_on_it(tiny_model: Path, tmp_path: Path) -> None:
    rows = [{"prompt": f"{number} +", "completion": "1"} for number in range(64)]
    given = words(tiny_model, tmp_path, rows, max_steps=2, per_device_train_batch_size=2, use_cpu="true", bf16="false")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = str(listener.getsockname()[1])
    launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--main_process_port", port]
    environ = {**os.environ, "LOG_LEVEL": "INFO", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launch, "-m", "tuning.sft_trainer", *given, "report_to=none"]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    folders = [path for path in (tmp_path / "kept").iterdir() if path.is_dir() and path.name != LOCKS]
    assert len(folders) == 1 and done.stderr.count("tokens: ") == 1
