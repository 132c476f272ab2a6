from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuning.config.sections import Data, Dataset
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
        ({"text": "t", "label": "x"}, "text", {"text": "t"}),
        (
            {"prompt": "def f():\n", "canonical_solution": "    pass", "test": "f()"},
            "solution",
            {"prompt": "def f():\n", "completion": "    pass"},
        ),
        (
            {"context": "c", "question": "q", "answers": {"text": ["", "a"], "answer_start": [1, 2]}},
            "squad",
            {"prompt": "### Context:\nc\n\n### Question:\nq\n\n### Answer:\n", "completion": "a"},
        ),
        (
            {"context": "", "question": "q", "answers": [{"text": "a", "answer_start": 1}]},
            "squad",
            {"prompt": "### Question:\nq\n\n### Answer:\n", "completion": "a"},
        ),
        (
            {"query": "q", "passages": {"passage_text": ["p1", "p2"]}, "answers": ["a"], "wellFormedAnswers": ["w"]},
            "ms_marco",
            {"prompt": "### Context:\np1\n\np2\n\n### Question:\nq\n\n### Answer:\n", "completion": "w"},
        ),
        (
            {"query": "q", "passages": [{"passage_text": "p"}], "answers": ["a"], "wellFormedAnswers": "[]"},
            "ms_marco",
            {"prompt": "### Context:\np\n\n### Question:\nq\n\n### Answer:\n", "completion": "a"},
        ),
        (
            {
                "contexts": [],
                "input": [{"speaker": "user", "text": "q"}],
                "targets": [{"speaker": "agent", "text": "a"}],
            },
            "mtrag",
            {
                "prompt": [{"role": "user", "content": "### Question:\nq"}],
                "completion": [{"role": "assistant", "content": "a"}],
            },
        ),
        ({"input_ids": [1, 2], "text": "t"}, "pretokenized", {"input_ids": [1, 2]}),
        (
            {"input_ids": [1, 2, 0], "labels": [-100, 2, -100], "attention_mask": [1, 1, 0]},
            "pretokenized",
            {"input_ids": [1, 2], "labels": [-100, 2]},
        ),
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
        ({"messages": TURNS[::-1]}, {}, "no message of the assistant answers another"),
        ({"messages": [*TURNS[:1], {"role": "assistant", "content": " "}]}, {}, "messages[1]: is empty"),
        ({"messages": [{"role": "bard", "content": "x"}, *TURNS]}, {}, "messages[0]: unknown role 'bard'"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}, *TURNS]}, {}, "messages[0] part 1: expected"),
        ({"messages": [*TURNS, {"role": "assistant", "tool_calls": ["f"]}]}, {}, "messages[2]: expected tool calls"),
        ({"messages": [*TURNS, {"role": "assistant", "tool_calls": [{"id": 1}]}]}, {}, "with a name and arguments"),
        ({"conversations": [*TURNS, {"from": "function_call", "value": "f("}]}, {}, "conversations[2]: not JSON"),
        ({"messages": TURNS, "tools": "[{"}, {}, "column tools: not JSON"),
        ({"messages": TURNS, "tools": [3]}, {}, "column tools: expected a list of objects"),
        ({"messages": [*TURNS, {"role": "tool", "content": "\ud800"}]}, {}, "messages[2]: holds a lone surrogate"),
        ({"context": "c", "question": "q", "answers": {"text": []}}, {}, "column answers: holds no answer"),
        ({"context": "c", "question": "q", "answers": "a"}, {}, "column answers: expected a list of texts, got str"),
        ({"contexts": [], "input": [], "targets": []}, {}, "column input: is empty"),
        ({"input_ids": []}, {}, "column input_ids: is empty"),
        ({"input_ids": "1 2"}, {}, "column input_ids: expected a list of whole numbers"),
        ({"input_ids": [1, 2.0]}, {}, "column input_ids: expected a list of whole numbers"),
        ({"input_ids": [1, True]}, {}, "column input_ids: expected a list of whole numbers"),
        ({"input_ids": [1, -1]}, {}, "column input_ids: holds -1 at position 1"),
        ({"input_ids": [1, 2], "labels": [1]}, {}, "column labels: has 1 values where input_ids has 2"),
        ({"input_ids": [1, 2], "labels": [1, -5]}, {}, "column labels: holds -5 at position 1"),
        ({"input_ids": [1], "labels": [-100]}, {}, "column labels: every one is -100, so nothing to train on"),
        ({"input_ids": [1], "attention_mask": [2]}, {}, "column attention_mask: holds 2 at position 0"),
        ({"input_ids": [1], "attention_mask": [0]}, {}, "column input_ids: is empty"),
        ({"instruction": "x"}, {"data_format": "instruction"}, "there is no column output"),
        ({"text": "a b"}, {"label_separator": "[sep]"}, "label_separator '[sep]' does not stand in the text"),
        ({"text": "a [sep] "}, {"label_separator": "[sep]"}, "nothing follows label_separator '[sep]'"),
        ({"question": "q", "answer": "a"}, {"task_type": "chat"}, "no format of task_type chat fits the columns"),
        ({"messages": [{"role": "user"}]}, {}, "messages[0]: expected content to be text"),
        ({"messages": [3]}, {}, "messages[0]: expected an object"),
        ({"a": "b"}, {}, "no format fits the columns a"),
        ({"a": "b"}, {"dataset_text_field": "c"}, "there is no column c; the rows have: a"),
        ({"a": "b"}, {"data_format": "chat"}, "there is no column messages"),
        ({"a": "b"}, {"data_formatter_template": "{{c}}"}, "'c' is undefined"),
        ({"a": None}, {"data_formatter_template": "x {{a}}"}, "a value is null"),
        ({"a": " "}, {"data_formatter_template": "{{a}}"}, "the text of the row: is empty"),
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


def test_a_separator_parts_a_text_at_its_first_place_and_is_left_out() -> None:
    row = {"text": "2 + 2 [sep] 4 [sep] 5"}
    assert convert(row, label_separator="[sep]") == {"prompt": "2 + 2 ", "completion": " 4 [sep] 5"}


def test_a_separator_parts_what_a_template_writes() -> None:
    settings = {"data_formatter_template": "{{q}}[sep]{{a}}", "label_separator": "[sep]"}
    assert convert({"q": "2 + 2", "a": "4"}, **settings) == {"prompt": "2 + 2", "completion": "4"}


@pytest.mark.parametrize(
    "row", [{"instruction": "a", "output": "b"}, {"prompt": "a", "completion": "b"}, {"input_ids": [1]}]
)
def test_a_response_template_for_rows_that_are_no_text_is_refused(row: Any) -> None:
    with pytest.raises(DataError, match=f"response_template: got 'A:'; rows of the format {recognise([*row], Data())}"):
        convert(row, response_template="A:")


@pytest.mark.parametrize("column", ["messages", "conversations"])
def test_a_response_template_agrees_with_the_roles_of_a_conversation(column: str) -> None:
    assert convert({column: TURNS}, response_template="<|assistant|>") == {"messages": TURNS}


@pytest.mark.parametrize("role", ["user", "tool", "system"])
def test_a_completion_that_does_not_begin_with_the_assistant_is_refused(role: str) -> None:
    row = {"prompt": TURNS[:1], "completion": [{"role": role, "content": "x"}, *TURNS[1:]]}
    with pytest.raises(DataError, match=rf"completion\[0\]: expected a message of the assistant, got one of '{role}'"):
        convert(row)


def test_two_ways_to_part_a_text_are_refused() -> None:
    with pytest.raises(UserError, match="keep one"):
        convert({"text": "a"}, label_separator="[sep]", response_template="#")


@pytest.mark.parametrize(
    ("message", "converted"),
    [
        ({"from": "human", "value": "x"}, {"role": "user", "content": "x"}),
        ({"role": "User", "value": "x"}, {"role": "user", "content": "x"}),
        ({"from": "observation", "value": "x"}, {"role": "tool", "content": "x"}),
        ({"role": "tool", "content": "x", "name": "f", "id": None}, {"role": "tool", "content": "x", "name": "f"}),
        ({"role": "user", "content": [{"type": "text", "text": t} for t in "xy"]}, {"role": "user", "content": "xy"}),
    ],
)
def test_messages_may_be_spelled_in_several_ways(message: Any, converted: Any) -> None:
    assert convert({"messages": [message, *TURNS]})["messages"][0] == converted


@pytest.mark.parametrize(
    "call",
    [
        {"from": "function_call", "value": '{"name": "f", "arguments": {"x": 1}}'},
        {"from": "function_call", "value": '[{"name": "f", "arguments": "{\\"x\\": 1}"}]'},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}],
        },
    ],
)
def test_tool_calls_have_one_shape_that_templates_can_render(call: Any) -> None:
    converted = {"type": "function", "function": {"name": "f", "arguments": {"x": 1}}}
    assert convert({"messages": [TURNS[0], call]})["messages"][1] == {
        "role": "assistant",
        "content": "",
        "tool_calls": [converted],
    }


@pytest.mark.parametrize("tools", [[{"name": "f"}], '[{"name": "f"}]', [{"function": {"name": "f"}}]])
def test_tools_are_kept_beside_the_messages(tools: Any) -> None:
    (tool,) = convert({"messages": TURNS, "tools": tools})["tools"]
    assert tool["function"] == {"name": "f"}


@pytest.mark.parametrize("tools", [None, [], "[]", ""])
def test_no_tools_are_no_column(tools: Any) -> None:
    assert convert({"messages": TURNS, "tools": tools}) == {"messages": TURNS}


@pytest.mark.parametrize("label", ["category", "label"])
def test_a_label_is_learned_only_by_request(label: str) -> None:
    converted = {"prompt": "### Text:\nt\n\n### Label:\n", "completion": "x"}
    assert convert({"text": "t", label: "x"}, task_type="classification") == converted
    assert convert({"text": "t", label: "x"}) == {"text": "t"}


def test_datasets_say_by_the_same_fields_what_their_rows_look_like() -> None:
    row = {"text": "t", "label": "x"}
    dataset = Dataset(data_paths=["rows.jsonl"], task_type="classification")
    assert converter(dataset, list(row))(row)["completion"] == "x"


KEYS = st.sampled_from(["role", "content", "from", "value", "tool_calls", "function", "name", "arguments", "text"])
TEXTS = st.text(max_size=4) | st.sampled_from(["user", "assistant", "gpt", "function_call", '{"name": "f"}', "\ud800"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-200, 9) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=9,
)
COLUMNS = ("tools", "labels", "attention_mask", "wellFormedAnswers", "context", "input")


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(sorted(FORMATS.names())), st.data())
def test_any_row_is_converted_to_what_can_be_written_or_refused(name: str, data: st.DataObject) -> None:
    found = FORMATS.load(name)
    row = {column: data.draw(VALUES) for column in (*found.columns, *COLUMNS)}
    try:
        converted = found.convert(row)
    except DataError:
        return
    assert json.dumps(converted, ensure_ascii=False).encode()
