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
    with pytest.raises(DataError, match=r"a.jsonl: no format fits the columns b"):
        converted(dataset(), rows({"b": 1}))


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


def test_rows_of_more_tokens_than_a_handler_allows_are_left_out() -> None:
    steps = [
        {"name": "tokenize", "arguments": {"text_column_name": "t"}},
        {"name": "skip_large_columns", "arguments": {"column_name": "input_ids", "max_length": 4}},
    ]
    assert tokens_of(dataset(*steps), {"t": "abc"}, {"t": "abcd"}, {"t": "ab"}) == ["abc$", "ab$"]
