from __future__ import annotations

from typing import Any

import pytest

from tuning.config.sections import Data
from tuning.data.formats import FORMATS, converter, recognise
from tuning.errors import DataError, UserError

TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]


def convert(row: dict[str, Any], **settings: Any) -> dict[str, Any]:
    return converter(Data(**settings), list(row))(row)


@pytest.mark.parametrize(
    ("row", "name", "converted"),
    [
        ({"messages": TURNS}, "chat", {"messages": TURNS}),
        (
            {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
            "sharegpt",
            {"messages": TURNS},
        ),
        ({"prompt": "a", "completion": "b"}, "prompt_completion", {"prompt": "a", "completion": "b"}),
        (
            {"prompt": TURNS[:1], "completion": TURNS[1:]},
            "prompt_completion",
            {"prompt": TURNS[:1], "completion": TURNS[1:]},
        ),
        (
            {"instruction": "Add", "input": "1 1", "output": "2"},
            "instruction",
            {"prompt": "### Instruction:\nAdd\n\n### Input:\n1 1\n\n### Response:\n", "completion": "2"},
        ),
        (
            {"instruction": "Add", "input": None, "response": "2"},
            "instruction_response",
            {"prompt": "### Instruction:\nAdd\n\n### Response:\n", "completion": "2"},
        ),
        (
            {"context": "c", "question": "q", "answer": "a"},
            "question_answering",
            {"prompt": "### Context:\nc\n\n### Question:\nq\n\n### Answer:\n", "completion": "a"},
        ),
        (
            {"input": "i", "output": "o"},
            "input_output",
            {"prompt": "i", "completion": "o"},
        ),
        ({"text": "t", "id": 3}, "text", {"text": "t"}),
    ],
)
def test_each_shape_of_row_is_recognised_and_converted(row: Any, name: str, converted: Any) -> None:
    assert recognise(list(row), Data()) == name
    assert convert(row) == converted


def test_a_template_and_a_response_template_give_prompt_and_completion() -> None:
    settings = {"data_formatter_template": "Q: {{question}}\nA: {{answer}}", "response_template": "\nA:"}
    assert convert({"question": "1+1?", "answer": "2"}, **settings) == {"prompt": "Q: 1+1?\nA:", "completion": " 2"}


def test_the_last_response_template_is_the_one_that_counts() -> None:
    row = {"t": "### In: say ### Out: ### Out: 7"}
    converted = convert(row, dataset_text_field="t", response_template="### Out:")
    assert converted == {"prompt": "### In: say ### Out: ### Out:", "completion": " 7"}


def test_a_text_field_without_a_response_template_is_trained_on_whole() -> None:
    assert convert({"body": "all of it"}, dataset_text_field="body") == {"text": "all of it"}


def test_a_column_with_a_blank_in_its_name_can_stand_in_a_template() -> None:
    row = {"Tweet text": "hi", "label": "x"}
    assert convert(row, data_formatter_template="{{Tweet text}}: {{ label }}") == {"text": "hi: x"}


def test_a_conversation_may_stand_in_another_column() -> None:
    assert convert({"turns": TURNS}, dataset_conversation_field="turns") == {"messages": TURNS}


def test_the_configured_format_wins_over_the_columns() -> None:
    row = {"text": "t", "prompt": "p", "completion": "c"}
    assert convert(row, data_format="text") == {"text": "t"}


@pytest.mark.parametrize(
    ("row", "settings", "told"),
    [
        ({"prompt": 1, "completion": "b"}, {}, "column prompt: expected text, got int"),
        ({"prompt": "a", "completion": " "}, {}, "column completion: is empty"),
        ({"prompt": "a", "completion": "\ud800"}, {}, "lone surrogate"),
        ({"messages": []}, {}, "an empty one"),
        ({"messages": "x"}, {}, "expected a list of messages, got str"),
        ({"messages": TURNS[:1]}, {}, "no message of the assistant"),
        ({"messages": [{"role": "user"}]}, {}, "messages[0]: expected content to be text"),
        ({"messages": [3]}, {}, "messages[0]: expected an object"),
        ({"a": "b"}, {}, "no format fits the columns a"),
        ({"a": "b"}, {"dataset_text_field": "c"}, "there is no column c; the rows have: a"),
        ({"a": "b"}, {"data_format": "chat"}, "there is no column messages"),
        ({"a": "b"}, {"data_formatter_template": "{{c}}"}, "'c' is undefined"),
        ({"a": None}, {"data_formatter_template": "x {{a}}"}, "a value is null"),
        ({"a": " "}, {"data_formatter_template": "{{a}}"}, "the text of the row is empty"),
        ({"prompt": [], "completion": TURNS[1:]}, {}, "column prompt: expected a list of messages, got an empty one"),
        ({"instruction": "x", "response": None}, {}, "column response: expected text"),
        ({"a": "b"}, {"data_formatter_template": "{{a}}", "response_template": "#"}, "does not stand in the text"),
        ({"a": "b"}, {"data_formatter_template": "{{a}}#", "response_template": "#"}, "nothing follows"),
    ],
)
def test_a_row_that_cannot_be_used_is_refused_by_column(row: Any, settings: Any, told: str) -> None:
    with pytest.raises(DataError) as error:
        convert(row, **settings)
    assert told in str(error.value)


@pytest.mark.parametrize(
    "template",
    [
        "{{ a.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{% for x in range(99999999999) %}{% endfor %}",
    ],
)
def test_a_template_cannot_leave_its_sandbox(template: str) -> None:
    with pytest.raises(DataError):
        convert({"a": "b"}, data_formatter_template=template)


def test_a_template_that_is_no_jinja_is_refused() -> None:
    with pytest.raises(UserError, match="not a valid Jinja template"):
        convert({"a": "b"}, data_formatter_template="{{a")


def test_an_unknown_format_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UserError, match="Did you mean 'instruction'"):
        convert({"a": "b"}, data_format="instructions")


def test_every_registered_format_loads() -> None:
    assert all(FORMATS.load(name).columns for name in FORMATS.names())
