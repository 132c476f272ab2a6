from __future__ import annotations

from typing import Any

import pytest

from tuning.config.building import build_config
from tuning.config.ir import IR
from tuning.config.sections import Data, Dataset
from tuning.data.run_datasets import datasets_of, unusable_datasets, validation_dataset
from tuning.errors import ConfigError

REQUIRED = {"model": {"model_name_or_path": "m"}, "training": {"output_dir": "o"}}


def problems_of(*datasets: dict[str, Any], **more: Any) -> list[str]:
    given = [{"data_paths": ["a.jsonl"], **dataset} for dataset in datasets]
    ir = IR.of({**REQUIRED, "data": {"datasets": given, **more}}, "file run.yaml")
    try:
        build_config(ir, (unusable_datasets,))
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


def test_rows_without_datasets_are_one_dataset() -> None:
    (dataset,) = datasets_of(Data(training_data_path=["a.jsonl"], data_format="chat", response_template="A:"))
    assert (dataset.name, dataset.data_paths, dataset.data_format) == ("training", ["a.jsonl"], "chat")
    assert dataset.response_template == "A:"


def test_a_dataset_takes_from_the_run_what_it_does_not_say() -> None:
    own = Dataset(data_paths=["b"], data_format="chat", dataset_split="test")
    first, second = datasets_of(Data(datasets=[Dataset(data_paths=["a"]), own], task_type="qa", dataset_split="train"))
    assert (first.name, first.task_type, first.data_format, first.dataset_split) == ("dataset_1", "qa", None, "train")
    assert (second.name, second.task_type, second.data_format, second.dataset_split) == (
        *("dataset_2", None, "chat"),
        "test",
    )


@pytest.mark.parametrize(
    ("said", "template"),
    [
        ({}, "A:"),
        ({"dataset_text_field": "t"}, "A:"),
        ({"data_format": "text"}, "A:"),
        ({"task_type": "text"}, "A:"),
        ({"response_template": "B:", "data_format": "instruction"}, "B:"),
        ({"data_format": "instruction"}, None),
        ({"dataset_conversation_field": "t"}, None),
        ({"task_type": "qa"}, None),
        ({"data_handlers": [{"name": "apply_tokenizer_chat_template"}]}, None),
        ({"data_handlers": [{"name": "tokenize"}]}, "A:"),
    ],
)
def test_the_response_template_of_the_run_is_for_datasets_of_text(said: dict[str, Any], template: str | None) -> None:
    given = Dataset.model_validate({"data_paths": ["a"], **said})
    assert datasets_of(Data(datasets=[given], response_template="A:"))[0].response_template == template


def test_held_out_files_are_a_dataset_of_which_no_row_is_trained_on() -> None:
    found = validation_dataset(Data(validation_data_path=["v.jsonl"]))
    assert found is not None
    assert found.split is not None
    assert (found.split.train, found.split.validation) == (0, 1)
    assert validation_dataset(Data()) is None


@pytest.mark.parametrize(
    ("datasets", "told"),
    [
        ([{"sampling": 0.5}, {"sampling": 0.4}], "the shares sampling add up to 0.9. They must add up to 1."),
        ([{"sampling": 1.0}, {}], "data.datasets[1].sampling"),
        ([{"name": "a"}, {"name": "a"}], "2 datasets are called 'a'"),
        ([{"split": {"train": 0.8, "validation": 0.4}}], "data.datasets[0].split"),
        ([{"split": {"validation": 1}}], "no dataset is trained on"),
        ([{"split": {}}], "neither share is above 0"),
        ([{"rename_columns": {"a": "b"}, "retain_columns": ["a"]}], "a has a new name by then"),
        ([{"data_handlers": [{"name": "tokenise"}]}], "data.datasets[0].data_handlers[0].name: got 'tokenise'"),
        ([{"data_handlers": [{"name": "filter_rows"}]}], "data.datasets[0].data_handlers[0].arguments"),
        (
            [{"data_handlers": [{"name": "filter_rows", "arguments": {"condition": 3}}]}],
            "data.datasets[0].data_handlers[0].arguments.condition: got 3 (from",
        ),
        ([{"rename_columns": {"a": "x", "b": "x"}}], "data.datasets[0].rename_columns: got {'a': 'x', 'b': 'x'}"),
        ([{"data_format": "chat", "label_separator": "#"}], "conflicts with data.datasets[0].label_separator"),
    ],
)
def test_datasets_that_cannot_be_used_are_told_by_their_place(datasets: list[dict[str, Any]], told: str) -> None:
    found = problems_of(*datasets)
    assert any(told in problem and "(from file run.yaml)" in problem for problem in found), found


def test_a_stream_cannot_be_parted_and_needs_a_number_of_steps() -> None:
    found = "\n".join(problems_of({"split": {"train": 0.9, "validation": 0.1}}, streaming=True))
    assert "rows that are streamed cannot be parted" in found
    assert "training.max_steps: is required with data.streaming" in found


@pytest.mark.parametrize("more", [{"training_data_path": ["b"]}, {"data_config_path": "c.yaml"}])
def test_rows_are_named_in_one_way(more: dict[str, Any]) -> None:
    assert any("conflicts with data." in problem for problem in problems_of({}, **more))


def test_shares_of_datasets_that_are_only_held_out_do_not_count() -> None:
    assert problems_of({"sampling": 0.6}, {"sampling": 0.4}, {"split": {"validation": 0.3}}) == []
