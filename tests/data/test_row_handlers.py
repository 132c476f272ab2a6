from __future__ import annotations

from typing import Any

import pytest

from tuning.config.sections import Dataset, Handler
from tuning.data.handlers import apply_steps, build_steps, tokenizing_settings
from tuning.data.row_handlers import without_raw
from tuning.errors import DataError


def through(row: dict[str, Any], *handlers: tuple[str, dict[str, Any]], **dataset: Any) -> dict[str, Any] | None:
    steps = [{"name": name, "arguments": arguments} for name, arguments in handlers]
    return apply_steps(build_steps(Dataset(data_paths=["a.jsonl"], data_handlers=steps, **dataset)), row)


@pytest.mark.parametrize(
    ("prompt", "answer", "completion"), [("q", "a", " a"), ("q ", "a", "a"), ("q", "\na", "\na"), ("q\t", " a", " a")]
)
def test_a_prompt_and_its_answer_are_parted_by_a_space_unless_one_is_there(
    prompt: str, answer: str, completion: str
) -> None:
    arguments = {"remove_columns": "all", "fn_kwargs": {"input_field_name": "i", "output_field_name": "o"}}
    made = through({"i": prompt, "o": answer}, ("tokenize_and_apply_input_masking", arguments))
    assert made == {"prompt": prompt, "completion": completion}


def test_an_answer_may_be_asked_for_without_the_end_token() -> None:
    arguments = {"input_column_name": "i", "output_column_name": "o", "add_eos_token": False}
    made = Dataset(
        data_paths=["a"], data_handlers=[Handler(name="tokenize_and_apply_input_masking", arguments=arguments)]
    )
    assert tokenizing_settings(made) == {"add_eos_token": False}


@pytest.mark.parametrize(
    ("name", "template"),
    [
        ("apply_custom_jinja_template", "{{ element['a b'] }}-{{ c }}"),
        ("apply_custom_jinja_template", "{% raw %}{{a b}}-{{c}}{{ eos_token }}{% endraw %}"),
        ("apply_custom_data_formatting_template", "{{a b}}-{{c}}"),
    ],
)
def test_a_template_writes_a_column_of_text(name: str, template: str) -> None:
    arguments = {"remove_columns": "all", "fn_kwargs": {"dataset_text_field": "out", "template": template}}
    assert through({"a b": "x", "c": 1}, (name, arguments)) == {"out": "x-1"}


def test_a_conversation_is_taken_with_its_tools_for_the_chat_template() -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    arguments = {"remove_columns": "all", "fn_kwargs": {"max_seq_length": 8, "conversation_column": "talk"}}
    made = through({"talk": turns, "tools": [{"a": 1}]}, ("tokenize_and_apply_chat_template_with_masking", arguments))
    assert made == {"messages": turns, "tools": [{"a": 1}]}


def test_columns_are_duplicated_renamed_removed_and_selected() -> None:
    row = {"a": 1, "b": 2, "c": 3}
    twice = {"fn_kwargs": {"old_column": "a", "new_column": "d"}}
    assert through(row, ("duplicate_columns", twice)) == {**row, "d": 1}
    assert through(row, ("rename_columns", {"column_mapping": {"a": "x", "b": "a"}})) == {"x": 1, "a": 2, "c": 3}
    assert through(row, ("remove_columns", {"column_names": ["a", "c"]})) == {"b": 2}
    assert through(row, ("select_columns", {"fn_kwargs": {"column_names": ["c", "a"]}})) == {"c": 3, "a": 1}


def test_columns_are_renamed_before_they_are_kept_and_handlers_follow() -> None:
    made = through({"a": "x", "b": "y"}, ("tokenize", {"text_column_name": "z"}), rename_columns={"a": "z"})
    assert made == {"z": "x", "b": "y", "text": "x"}
    assert through({"a": 1, "b": 2}, rename_columns={"a": "z"}, retain_columns=["z"]) == {"z": 1}


@pytest.mark.parametrize(("text", "is_kept"), [("four", True), ("fiver", False)])
def test_rows_with_long_columns_are_left_out(text: str, is_kept: bool) -> None:
    arguments = {"fn_kwargs": {"column_name": "t", "max_allowed_length": 4}}
    assert (through({"t": text}, ("skip_samples_with_large_columns", arguments)) is not None) == is_kept


def test_a_limit_of_tokens_waits_for_the_tokenizing() -> None:
    steps = [
        ("tokenize", {"remove_columns": "all", "fn_kwargs": {"dataset_text_field": "o"}}),
        ("duplicate_columns", {"fn_kwargs": {"old_column": "input_ids", "new_column": "labels"}}),
        *(("skip_large_columns", {"fn_kwargs": {"column_name": "input_ids", "max_length": most}}) for most in (50, 60)),
    ]
    assert through({"o": "text", "x": 1}, *steps) == {"text": "text"}
    handlers = [Handler(name=name, arguments=arguments) for name, arguments in steps]
    assert tokenizing_settings(Dataset(data_paths=["a"], data_handlers=handlers)) == {"max_num_tokens": 50}


@pytest.mark.parametrize(("label", "is_kept"), [("yes", True), ("no", False)])
def test_rows_are_filtered_by_a_condition(label: str, is_kept: bool) -> None:
    made = through({"label": label, "n": 3}, ("filter_rows", {"condition": "label == 'yes' and n > 2"}))
    assert (made == {"label": label, "n": 3}) == is_kept
    assert (made is None) != is_kept


@pytest.mark.parametrize(
    ("handler", "arguments", "told"),
    [
        ("duplicate_columns", {"existing_column_name": "x", "new_column_name": "y"}, "there is no column x"),
        ("duplicate_columns", {"existing_column_name": "a", "new_column_name": "b"}, "there is a column b already"),
        ("rename_columns", {"column_mapping": {"a": "b"}}, "there is a column b already"),
        ("apply_custom_jinja_template", {"template": "{{ x }}"}, "'x' is undefined"),
        ("tokenize", {"text_column_name": "b"}, "column b: expected text, got int"),
        ("skip_samples_with_large_columns", {"column_name": "c", "max_allowed_length": 1}, "got NoneType"),
        ("skip_samples_with_large_columns", {"column_name": "b", "max_allowed_length": 1}, "has a length, got int"),
        ("filter_rows", {"condition": "x == 1"}, "the row has: a, b, c$"),
    ],
)
def test_a_row_that_a_handler_cannot_use_is_told_with_the_handler(
    handler: str, arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises(DataError, match=f"^{handler}: .*{told}"):
        through({"a": "x", "b": 2, "c": None}, (handler, arguments))


def test_a_single_column_may_be_named_without_a_list() -> None:
    assert through({"id": 1, "i": 2}, ("remove_columns", {"column_names": "id"})) == {"i": 2}
    assert through({"id": 1, "i": 2}, ("select_columns", {"column_names": "id"})) == {"id": 1}


def test_a_column_that_is_called_element_is_written_as_it_is() -> None:
    arguments = {"template": "{{ element }}", "formatted_text_column_name": "out"}
    made = through({"element": "x"}, ("apply_custom_jinja_template", arguments))
    assert made == {"element": "x", "out": "x"}


def test_a_template_is_taken_out_of_a_raw_block() -> None:
    assert without_raw("{% raw %}\n  {{ a }}\n{% endraw %}\n") == "  {{ a }}"
    assert without_raw("x {% raw %}{{ a }}{% endraw %}") == "x {% raw %}{{ a }}{% endraw %}"
