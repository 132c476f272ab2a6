from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tuning.config.ir import IR
from tuning.config.sections import Data
from tuning.data.data_config import resolved, with_datasets
from tuning.data.rows import Rows, load_rows
from tuning.errors import ConfigError

TURNS = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
WHOLE_ROW = "{% for message in messages['messages'] %}{{ message['content'] + eos_token }}{% endfor %}"


def rows_file(folder: Path, name: str, rows: list[dict[str, Any]]) -> str:
    (folder / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return str(folder / name)


def config_file(folder: Path, document: dict[str, Any], name: str = "data.yaml") -> str:
    text = json.dumps(document) if name.endswith(".json") else yaml.safe_dump(document)
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def fms(path: str, *handlers: dict[str, Any], **more: Any) -> dict[str, Any]:
    dataset = {"name": "one", "data_paths": [path], "data_handlers": list(handlers), **more}
    return {"dataprocessor": {"type": "default"}, "datasets": [dataset]}


def handler(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": {"remove_columns": "all", "batched": False, "fn_kwargs": arguments}}


def loaded(folder: Path, document: dict[str, Any], **data: Any) -> Rows:
    return load_rows(Data(data_config_path=config_file(folder, document), **data), seed=1)


def values_of(folder: Path, row: dict[str, Any], *handlers: dict[str, Any], **data: Any) -> dict[str, Any]:
    (found,) = loaded(folder, fms(rows_file(folder, "a.jsonl", [row]), *handlers), **data).train
    return found.values


def problems_of(folder: Path, document: dict[str, Any]) -> list[str]:
    with pytest.raises(ConfigError) as error:
        with_datasets(IR.of({"data": {"data_config_path": config_file(folder, document)}}, "command line"))
    return [str(problem) for problem in error.value.problems]


def test_input_masking_makes_a_prompt_and_its_completion(tmp_path: Path) -> None:
    masking = handler("tokenize_and_apply_input_masking", input_column_name="INPUT", output_column_name="OUTPUT")
    assert values_of(tmp_path, {"INPUT": "q", "OUTPUT": "a"}, masking) == {"prompt": "q", "completion": " a"}


@pytest.mark.parametrize("name", ["apply_custom_jinja_template", "apply_custom_data_formatting_template"])
def test_a_template_makes_a_text_that_the_response_template_parts(tmp_path: Path, name: str) -> None:
    template = "### Input: {{Tweet text}}\n### Response: {{label}}"
    written = handler(name, dataset_text_field="out", template=template, add_eos_token=True)
    made = values_of(tmp_path, {"Tweet text": "q", "label": "a"}, written, response_template="\n### Response:")
    assert made == {"prompt": "### Input: q\n### Response:", "completion": " a"}


def test_tokenizing_a_column_makes_a_text(tmp_path: Path) -> None:
    steps = [
        handler("tokenize", text_column_name="output", truncation=True, max_length=1024),
        handler("duplicate_columns", existing_column_name="input_ids", new_column_name="labels"),
    ]
    assert values_of(tmp_path, {"output": "text", "id": 1}, *steps) == {"text": "text"}


def test_a_limit_of_tokens_goes_with_the_row_to_the_tokenizing(tmp_path: Path) -> None:
    steps = [handler("tokenize", dataset_text_field="output")]
    steps += [{"name": "skip_large_columns", "arguments": {"fn_kwargs": {"column_name": "input_ids", "max_length": 5}}}]
    assert values_of(tmp_path, {"output": "text"}, *steps) == {"text": "text", "max_num_tokens": 5}


@pytest.mark.parametrize("name", ["apply_tokenizer_chat_template", "tokenize_and_apply_chat_template_with_masking"])
def test_a_chat_template_is_left_to_the_tokenizing_of_conversations(tmp_path: Path, name: str) -> None:
    step = handler(name, formatted_text_column_name="out", conversation_column="messages")
    assert values_of(tmp_path, {"messages": TURNS, "group": "x"}, step) == {"messages": TURNS}


def test_columns_are_renamed_and_selected_by_handlers(tmp_path: Path) -> None:
    steps = [
        {"name": "rename_columns", "arguments": {"fn_kwargs": {"column_mapping": {"input": "i", "output": "o"}}}},
        {"name": "select_columns", "arguments": {"fn_kwargs": {"column_names": ["i", "o"]}}},
        handler("tokenize_and_apply_input_masking", input_column_name="i", output_column_name="o"),
    ]
    row = {"input": "q", "output": "a", "id": 3}
    assert values_of(tmp_path, row, *steps) == {"prompt": "q", "completion": " a"}


def test_rows_of_tokens_need_no_handler_and_no_processor(tmp_path: Path) -> None:
    path = rows_file(tmp_path, "a.jsonl", [{"input_ids": [1, 2], "labels": [-100, 2], "attention_mask": [1, 1]}])
    rows = loaded(tmp_path, {"datasets": [{"name": "tokens", "data_paths": [path]}]})
    assert rows.train[0].values == {"input_ids": [1, 2], "labels": [-100, 2]}


def test_labels_may_be_a_copy_of_the_tokens(tmp_path: Path) -> None:
    step = {
        "name": "duplicate_columns",
        "arguments": {"fn_kwargs": {"old_column": "input_ids", "new_column": "labels"}},
    }
    assert values_of(tmp_path, {"input_ids": [1, 2]}, step) == {"input_ids": [1, 2], "labels": [1, 2]}


def test_datasets_without_shares_follow_one_another(tmp_path: Path) -> None:
    paths = [rows_file(tmp_path, f"{name}.jsonl", [{"text": f"{name}{n}"} for n in range(3)]) for name in "ab"]
    datasets = [{"name": path[-7], "data_paths": [path]} for path in paths]
    rows = loaded(tmp_path, {"dataprocessor": {"type": "default"}, "datasets": datasets})
    assert [row.values["text"] for row in rows.train] == ["a0", "a1", "a2", "b0", "b1", "b2"]


def test_datasets_with_shares_and_splits_are_parted_and_then_mixed(tmp_path: Path) -> None:
    paths = [rows_file(tmp_path, f"{name}.jsonl", [{"text": f"{name}{n}"} for n in range(1000)]) for name in "abcd"]
    parts = [{"train": 0.8, "validation": 0.2}, {"train": 0.6, "validation": 0.2}, {"train": 0.4, "validation": 0.1}]
    shares = [0.3, 0.4, 0.3]
    datasets: list[dict[str, Any]] = [
        {"name": path[-7], "data_paths": [path], "split": part, "sampling": share}
        for path, part, share in zip(paths, parts, shares, strict=False)
    ]
    datasets.append({"name": "d", "data_paths": [paths[3]], "split": {"train": 0.0, "validation": 0.3}})
    processor = {"type": "default", "sampling_stopping_strategy": "first_exhausted", "seed": 66}
    rows = loaded(tmp_path, {"dataprocessor": processor, "datasets": datasets})
    drawn = [row.values["text"][0] for row in rows.train]
    assert len(rows.validation) == 200 + 200 + 100 + 300
    assert not {row.place for row in rows.train} & {row.place for row in rows.validation}
    assert [drawn.count(name) / len(drawn) for name in "abc"] == pytest.approx(shares, abs=0.02)
    assert "d" not in drawn
    assert rows == loaded(tmp_path, {"dataprocessor": processor, "datasets": datasets})


def test_a_split_of_a_folder_is_the_files_that_are_named_after_it(tmp_path: Path) -> None:
    for name in ("train_sft", "train_sft-00001", "test_sft"):
        rows_file(tmp_path, f"{name}.jsonl", [{"messages": TURNS}])
    chat = handler("tokenize_and_apply_chat_template_with_masking", conversation_column="messages")
    dataset = {"name": "a", "dataset_split_name": "train_sft", "data_paths": [str(tmp_path)], "data_handlers": [chat]}
    rows = loaded(tmp_path, {"datasets": [dataset]})
    assert [Path(row.place).name for row in rows.train] == ["train_sft-00001.jsonl row 1", "train_sft.jsonl row 1"]


@pytest.mark.parametrize("name", ["data.yaml", "data.json", "data.txt"])
def test_a_document_takes_in_what_the_file_says_with_its_source(tmp_path: Path, name: str) -> None:
    dataset = {"name": "a", "data_paths": ["a"], "dataset_split_name": "train_sft", "builder": "json"}
    processor = {"type": "default", "streaming": True, "sampling_stopping_strategy": "first_exhausted"}
    path = config_file(tmp_path, {"dataprocessor": processor, "datasets": [dataset]}, name)
    ir = with_datasets(IR.of({"data": {"data_config_path": path, "sampling_seed": 7}}, "command line"))
    assert ir.values["data"] == {
        "sampling_seed": 7,
        "streaming": True,
        "sampling_stopping_strategy": "first_exhausted",
        "datasets": [{"name": "a", "data_paths": ["a"], "dataset_split": "train_sft"}],
    }
    assert ir.sources["data.datasets"] == f"data config {path}"
    assert ir.sources["data.sampling_seed"] == "command line"


@pytest.mark.parametrize(
    ("processor", "template"),
    [
        ({"chat_template": "{{ messages }}"}, "{{ messages }}"),
        ({"chat_template": "{% raw %}{{ messages }}{% endraw %}"}, "{{ messages }}"),
        ({"chat_template": WHOLE_ROW}, WHOLE_ROW.replace("messages['messages']", "messages")),
        ({"chat_template_base64": base64.b64encode(b"{{ messages }}").decode()}, "{{ messages }}"),
    ],
)
def test_the_chat_template_of_the_file_is_that_of_the_model(
    tmp_path: Path, processor: dict[str, Any], template: str
) -> None:
    path = config_file(tmp_path, {"dataprocessor": processor, "datasets": [{"data_paths": ["a"]}]})
    assert with_datasets(IR.of({"data": {"data_config_path": path}}, "x")).get("model.chat_template") == template
    given = {"data": {"data_config_path": path}, "model": {"chat_template_path": "mine.jinja"}}
    assert with_datasets(IR.of(given, "x")).get("model.chat_template") is None


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"datasets": []}, "datasets: got [] .* expected a list of datasets, not empty"),
        ({"datasets": [3]}, r"data.datasets\[0\]: got 3 .* expected an object"),
        ({"datasets": [{"name": "a"}]}, r"data.datasets\[0\].data_paths: .*is required"),
        ({"datasets": [{"data_paths": ["a"], "samplng": 1}]}, r"data.datasets\[0\].samplng: .*Did you mean 'sampling'"),
        ({"datasets": [{"data_paths": ["a"], "sampling": 2}]}, r"data.datasets\[0\].sampling: got 2 .*at most 1"),
        ({"datasets": [{"data_paths": ["a"], "split": {"test": 1}}]}, r"data.datasets\[0\].split.test: got 1"),
        (
            {"datasets": [{"data_paths": ["a"], "builder": "webdataset"}]},
            r"data.datasets\[0\].builder: got 'webdataset'",
        ),
        ({"datasets": [{"data_paths": ["a"]}], "extra": 1}, "extra: got 1 .*there is no such key"),
        ({"dataprocessor": {"type": "odm"}, "datasets": [{"data_paths": ["a"]}]}, "dataprocessor.type: got 'odm'"),
        (
            {"dataprocessor": {"sed": 1}, "datasets": [{"data_paths": ["a"]}]},
            "dataprocessor.sed: .*Did you mean 'seed'",
        ),
        (
            {"dataprocessor": {"chat_template_base64": "%%"}, "datasets": [{"data_paths": ["a"]}]},
            "dataprocessor.chat_template_base64: got '%%' .*expected base64",
        ),
        (
            {"dataprocessor": {"chat_template": "a", "chat_template_path": "b"}, "datasets": [{"data_paths": ["a"]}]},
            "conflicts with chat_template; keep one",
        ),
    ],
)
def test_what_is_wrong_in_the_file_is_told_by_its_place(tmp_path: Path, document: dict[str, Any], told: str) -> None:
    assert any(re.search(told.replace("[]", r"\[\]"), problem) for problem in problems_of(tmp_path, document))


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"\xff\xfe", "not UTF-8"), (b"a: [", "cannot be read"), (b"- 1", "expected an object"), (None, "No such file")],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None, told: str) -> None:
    path = tmp_path / "data.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=told):
        resolved(Data(data_config_path=str(path)))


@pytest.mark.parametrize(
    ("processor", "dataset", "told"),
    [
        ({"sampling_stopping_strategy": "first"}, {}, "data.sampling_stopping_strategy: got 'first' .*expected one of"),
        ({}, {"data_handlers": [{"name": "tokenise"}]}, r"data.datasets\[0\].data_handlers\[0\].name: got 'tokenise'"),
        ({}, {"rename_columns": {"a": "x", "b": "x"}}, r"data.datasets\[0\].rename_columns: .*would be called x"),
        ({}, {"sampling": 0.5}, "the shares sampling add up to 0.5"),
    ],
)
def test_a_file_that_python_names_is_checked_like_that_of_a_run(
    tmp_path: Path, processor: dict[str, Any], dataset: dict[str, Any], told: str
) -> None:
    document = {"dataprocessor": processor, "datasets": [{"data_paths": ["a.jsonl"], **dataset}]}
    with pytest.raises(ConfigError, match=f"{told}.*"):
        loaded(tmp_path, document)
