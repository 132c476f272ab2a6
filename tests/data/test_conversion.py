from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tuning.config.sections import Dataset
from tuning.data.conversion import converted
from tuning.data.pieces import Cutter
from tuning.data.sources import Row, Skipped
from tuning.data.templates import CHATML, chat_renderer
from tuning.data.tokenization import Encoder, tokenize
from tuning.errors import DataError


def dataset(*handlers: dict[str, Any], **settings: Any) -> Dataset:
    return Dataset.model_validate({"data_paths": ["a.jsonl"], "data_handlers": list(handlers), **settings})


def rows(*values: dict[str, Any]) -> list[Row | Skipped]:
    return [Row(f"row {number}", row) for number, row in enumerate(values, start=1)]


def test_rows_that_a_reader_a_handler_or_the_format_cannot_use_are_skipped_in_their_place() -> None:
    read = [Skipped("row 0", "no object"), *rows({"t": 5}, {"t": "x"}, {"t": " "})]
    found = converted(dataset({"name": "tokenize", "arguments": {"text_column_name": "t"}}), read)
    assert found.format == "text"
    assert list(found.rows) == [
        Skipped("row 0", "no object"),
        Skipped("row 1", "tokenize: column t: expected text, got int"),
        Row("row 2", {"text": "x"}),
        Skipped("row 3", "column text: is empty"),
    ]


def test_rows_that_a_handler_leaves_out_are_not_skipped() -> None:
    few = dataset({"name": "filter_rows", "arguments": {"condition": "n > 1"}})
    assert [row.place for row in converted(few, rows({"text": "a", "n": 1}, {"text": "b", "n": 2})).rows] == ["row 2"]
    with pytest.raises(DataError, match=r"a.jsonl: there are no rows after its data_handlers"):
        converted(few, rows({"text": "a", "n": 1}))


def test_the_first_row_after_the_handlers_decides_about_the_format() -> None:
    renamed = dataset(rename_columns={"q": "prompt", "a": "completion"})
    assert converted(renamed, rows({"q": "1", "a": "2"})).format == "prompt_completion"
    with pytest.raises(DataError, match=r"^row 1: no format fits the columns b"):
        converted(dataset(), rows({"b": 1}, {"c": 1}))


def test_a_first_row_that_no_format_fits_is_skipped_like_any_other() -> None:
    read = rows({"question": "q"}, {"instances": []}, *[{"question": "q", "answer": "a"}] * 3)
    found = converted(dataset(task_type="qa"), read)
    first, second, *others = found.rows
    assert found.format == "question_answering"
    assert first == Skipped("row 1", "column answer: is missing")
    assert isinstance(second, Skipped) and len(others) == 3


def test_the_format_is_looked_for_in_the_first_rows_alone() -> None:
    read = iter(rows(*[{"b": 1}] * 200, {"text": "t"}))
    with pytest.raises(DataError, match=r"^row 1: no format"):
        converted(dataset(), read)
    assert len(list(read)) == 101


def letters(texts: Sequence[str], add_special_tokens: bool) -> list[list[int]]:
    return [[ord(letter) for letter in text] for text in texts]


def tokens_of(found: Dataset, *values: dict[str, Any]) -> list[str]:
    cutter = Cutter("$", chat_renderer(CHATML, {"eos_token": "$"}))
    usable = [row.values for row in converted(found, rows(*values)).rows if isinstance(row, Row)]
    return ["".join(map(chr, row.input_ids)) for row in tokenize(usable, cutter, Encoder.of(letters))]


@pytest.mark.parametrize(("add_eos_token", "text"), [(True, "q a$"), (False, "q a")])
def test_a_handler_may_leave_the_end_token_out(add_eos_token: bool, text: str) -> None:
    arguments = {"input_column_name": "i", "output_column_name": "o", "add_eos_token": add_eos_token}
    masking = {"name": "tokenize_and_apply_input_masking", "arguments": arguments}
    assert tokens_of(dataset(masking), {"i": "q", "o": "a"}) == [text]


@pytest.mark.parametrize("limit", [0, "three", None])
def test_columns_that_are_called_like_what_handlers_ask_for_are_not_used(limit: Any) -> None:
    row = {"prompt": "q", "completion": "a", "max_num_tokens": limit, "add_eos_token": False}
    (found,) = converted(dataset(), rows(row)).rows
    assert found == Row("row 1", {"prompt": "q", "completion": "a"})
    assert tokens_of(dataset(), row) == ["qa$"]


def test_the_last_handler_that_says_so_decides_about_the_end_token() -> None:
    template = {"template": "{{ t }}", "formatted_text_column_name": "i", "add_eos_token": False}
    masking = {"input_column_name": "i", "output_column_name": "o"}
    steps = [{"name": "apply_custom_jinja_template", "arguments": template}]
    steps += [{"name": "tokenize_and_apply_input_masking", "arguments": masking}]
    assert tokens_of(dataset(*steps), {"t": "q", "o": "a"}) == ["q a$"]


def test_rows_of_more_tokens_than_a_handler_allows_are_left_out() -> None:
    steps = [
        {"name": "tokenize", "arguments": {"text_column_name": "t"}},
        {"name": "skip_large_columns", "arguments": {"column_name": "input_ids", "max_length": 4}},
    ]
    assert tokens_of(dataset(*steps), {"t": "abc"}, {"t": "abcd"}, {"t": "ab"}) == ["abc$", "ab$"]


def test_a_limit_of_tokens_holds_for_rows_that_are_tokens_already_and_outlives_the_columns() -> None:
    limit = {"name": "skip_large_columns", "arguments": {"column_name": "labels", "max_length": 2}}
    assert tokens_of(dataset(limit), {"input_ids": [97, 98]}, {"input_ids": [97, 98, 99]}) == ["ab"]
    kept = {"name": "select_columns", "arguments": {"column_names": "text"}}
    assert tokens_of(dataset(limit, kept), {"text": "a"}, {"text": "ab"}) == ["a$"]
