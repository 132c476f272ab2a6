from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tuning.config.sections import Dataset, Handler
from tuning.data.handlers import DATA_HANDLERS, apply_steps, build_steps, check_handler, implied_settings
from tuning.errors import DataError, UserError

MASKED = {"input_column_name": "i", "output_column_name": "o"}


@pytest.fixture
def registered() -> Iterator[None]:
    @DATA_HANDLERS.register("Custom_shout")
    def shout(row: Mapping[str, Any], column: str, mark: str = "!") -> dict[str, Any] | None:
        return {column: row[column].upper() + mark} if row[column] else None

    yield
    DATA_HANDLERS._registered.pop("Custom_shout")


def dataset(*handlers: dict[str, Any]) -> Dataset:
    return Dataset(data_paths=["a.jsonl"], data_handlers=[Handler(**handler) for handler in handlers])


@pytest.mark.usefixtures("registered")
def test_a_function_of_ones_own_is_a_handler_by_its_name() -> None:
    steps = build_steps(dataset({"name": "Custom_shout", "arguments": {"column": "a"}}))
    assert apply_steps(steps, {"a": "hi", "b": 1}) == {"a": "HI!", "b": 1}
    assert apply_steps(steps, {"a": "", "b": 1}) is None
    with pytest.raises(DataError, match="Custom_shout: AttributeError"):
        apply_steps(steps, {"a": 7})


@pytest.mark.usefixtures("registered")
def test_handlers_follow_one_another_and_columns_are_removed_for_what_they_make() -> None:
    shout = {"name": "Custom_shout", "arguments": {"fn_kwargs": {"column": "a"}, "remove_columns": ["b"]}}
    copy = {"existing_column_name": "a", "new_column_name": "c"}
    found = dataset(shout, {"name": "duplicate_columns", "arguments": {**copy, "batched": True, "num_proc": 4}})
    assert apply_steps(build_steps(found), {"a": "hi", "b": 1, "d": 2}) == {"a": "HI!", "c": "HI!", "d": 2}


@pytest.mark.parametrize(
    ("handler", "told"),
    [
        ({"name": "tokenise"}, "unknown data handler 'tokenise'. Did you mean 'tokenize'?"),
        ({"name": "tokenize", "arguments": {"fn_kwargs": {"colum": "a"}}}, "'colum'.*it takes text_column_name"),
        ({"name": "rename_columns"}, "column_mapping"),
        ({"name": "tokenize", "arguments": {"fn_kwargs": [1]}}, "fn_kwargs: expected an object, got list"),
        ({"name": "apply_custom_jinja_template", "arguments": {"template": "{{ a"}}, "not a valid Jinja template"),
        ({"name": "filter_rows", "arguments": {"condition": "a =="}}, "not a valid Jinja template"),
    ],
)
def test_a_handler_that_cannot_be_is_refused_before_any_row(handler: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        check_handler(Handler(**handler))


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("remove_columns", {"column_names": 3}, "column_names: got 3 .*remove_columns.*; expected a list of names"),
        ("select_columns", {"column_names": ["a", 1]}, "column_names: .*expected a list of names"),
        ("rename_columns", {"column_mapping": ["a"]}, r"column_mapping: got \['a'\] .*expected an object"),
        ("rename_columns", {"column_mapping": {"a": "x", "b": "x"}}, "several columns would be called x"),
        ("skip_large_columns", {"column_name": "a", "max_length": "3"}, "max_length: got '3' .*a whole number"),
        ("skip_large_columns", {"column_name": "a", "max_length": True}, "max_length: got True .*a whole number"),
        ("filter_rows", {"condition": True}, "condition: got True .*expected text"),
        ("tokenize_and_apply_input_masking", {"add_eos_token": "no", **MASKED}, "expected true or false"),
    ],
)
def test_an_argument_of_the_wrong_type_is_refused_by_its_name(name: str, arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        build_steps(dataset({"name": name, "arguments": arguments}))


def test_a_template_with_blanks_in_its_names_is_no_fault() -> None:
    check_handler(Handler(name="apply_custom_jinja_template", arguments={"template": "{{Tweet text}} {{ a }}"}))


def test_the_last_handler_that_makes_text_says_how_the_rows_are_read() -> None:
    written = {"formatted_text_column_name": "out", "template": "x"}
    assert implied_settings(dataset({"name": "tokenize_and_apply_input_masking", "arguments": MASKED})) == {
        "data_format": "prompt_completion"
    }
    both = ({"name": "tokenize"}, {"name": "apply_custom_jinja_template", "arguments": written})
    assert implied_settings(dataset(*both)) == {"dataset_text_field": "out"}
    assert implied_settings(dataset({"name": "remove_columns", "arguments": {"column_names": ["a"]}})) == {}
