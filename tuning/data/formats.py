"""Turn rows into what TRL trains on: prompt and completion, messages, or text; one pure function per shape of row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tuning.config.sections import Data
from tuning.data.templates import row_renderer
from tuning.errors import DataError
from tuning.registry import Registry

Convert = Callable[[Mapping[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class DataFormat:
    """One shape of row: the columns that it needs, others that it can use, and how it becomes trainable."""

    columns: tuple[str, ...]
    convert: Convert
    """Row to `{"prompt", "completion"}`, `{"messages"}` or `{"text"}`; raises DataError for a row it cannot use."""


def recognise(columns: Sequence[str], data: Data) -> str:
    """Name the format of rows with these columns, as the configuration or else the columns say.

    Raises:
        DataError: no format fits; names the columns and the formats.
    """
    if data.data_formatter_template or data.dataset_text_field:
        return "text"
    if data.dataset_conversation_field:
        return "chat"
    if data.data_format:
        return data.data_format
    for name in _IN_ORDER:
        if set(FORMATS.load(name).columns) <= set(columns):
            return name
    raise DataError(
        f"no format fits the columns {', '.join(columns)}. Known: {_shapes()}. "
        "Or give data_formatter_template, or dataset_text_field."
    )


def converter(data: Data, columns: Sequence[str]) -> Convert:
    """Make the function that turns rows with these columns into what TRL trains on.

    Raises:
        DataError: no format fits, or a column that the configuration names is not there.
    """
    name = recognise(columns, data)
    if data.data_formatter_template:
        return _after_response_template(row_renderer(data.data_formatter_template, columns), data)
    if name == "text":
        column = data.dataset_text_field or "text"
        _require([column], columns)
        return _after_response_template(lambda row: _text(row, column), data)
    if name == "chat" and data.dataset_conversation_field:
        _require([data.dataset_conversation_field], columns)
        return lambda row: _chat(row, str(data.dataset_conversation_field))
    found = FORMATS.load(name)
    _require(found.columns, columns)
    return found.convert


def _after_response_template(render: Callable[[Mapping[str, Any]], str], data: Data) -> Convert:
    """Split a text where the response starts; without a response template all of it is trained on."""
    template = data.response_template
    if not template:
        return lambda row: {"text": _not_empty(render(row))}

    def convert(row: Mapping[str, Any]) -> dict[str, Any]:
        before, found, response = render(row).rpartition(template)  # the last one, as TRL's collator took it
        if not found:
            raise DataError(f"response_template {template!r} does not stand in the text of the row")
        if not response.strip():
            raise DataError(f"nothing follows response_template {template!r} in the text of the row")
        return {"prompt": before + found, "completion": response}

    return convert


def _not_empty(text: str) -> str:
    if not text.strip():
        raise DataError("the text of the row is empty")
    return text


def _chat(row: Mapping[str, Any], column: str = "messages") -> dict[str, Any]:
    messages = row.get(column)
    if not isinstance(messages, list) or not messages:
        got = "an empty one" if messages == [] else type(messages).__name__
        raise DataError(f"column {column}: expected a list of messages, got {got}")
    turns = [_message(message, f"{column}[{index}]") for index, message in enumerate(messages)]
    if not any(turn["role"] == "assistant" for turn in turns):
        raise DataError(f"column {column}: no message of the assistant, so nothing to train on")
    return {"messages": turns}


def _message(message: Any, where: str) -> dict[str, Any]:
    if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
        raise DataError(f"{where}: expected an object with role and content")
    if not isinstance(message.get("content"), str) and not message.get("tool_calls"):
        raise DataError(f"{where}: expected content to be text, got {type(message.get('content')).__name__}")
    _refuse_surrogates(f"{message['role']}{message.get('content')}{message.get('tool_calls') or ''}", where)
    return {"content": "", **{key: value for key, value in message.items() if value is not None}}


def _share_gpt(row: Mapping[str, Any]) -> dict[str, Any]:
    roles = {"human": "user", "gpt": "assistant"}
    turns = row.get("conversations")
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        raise DataError("column conversations: expected a list of objects with from and value")
    messages = [{"role": roles.get(turn.get("from"), turn.get("from")), "content": turn.get("value")} for turn in turns]
    return _chat({"messages": messages})


def _prompt_completion(row: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(row.get("prompt"), list):
        if not row["prompt"]:
            raise DataError("column prompt: expected a list of messages, got an empty one")
        prompt = [_message(message, "prompt") for message in row["prompt"]]
        completion = row.get("completion")
        if not isinstance(completion, list) or not completion:
            raise DataError("column completion: expected a list of messages, as the prompt is one")
        return {"prompt": prompt, "completion": [_message(message, "completion") for message in completion]}
    return {"prompt": _text(row, "prompt", may_be_empty=True), "completion": _text(row, "completion")}


def _instruction(row: Mapping[str, Any], answer_column: str = "output") -> dict[str, Any]:
    answer = _text(row, answer_column)
    context = _text(row, "input", may_be_empty=True) if row.get("input") is not None else ""
    given = f"### Input:\n{context}\n\n" if context.strip() else ""
    return {"prompt": f"### Instruction:\n{_text(row, 'instruction')}\n\n{given}### Response:\n", "completion": answer}


def _question_answering(row: Mapping[str, Any]) -> dict[str, Any]:
    context = _text(row, "context", may_be_empty=True) if row.get("context") is not None else ""
    given = f"### Context:\n{context}\n\n" if context.strip() else ""
    return {
        "prompt": f"{given}### Question:\n{_text(row, 'question')}\n\n### Answer:\n",
        "completion": _text(row, "answer"),
    }


def _input_output(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"prompt": _text(row, "input"), "completion": _text(row, "output")}


def _plain_text(row: Mapping[str, Any]) -> dict[str, Any]:
    return {"text": _text(row, "text")}


def _text(row: Mapping[str, Any], column: str, may_be_empty: bool = False) -> str:
    value = row.get(column)
    if not isinstance(value, str):
        raise DataError(f"column {column}: expected text, got {type(value).__name__}")
    if not may_be_empty and not value.strip():
        raise DataError(f"column {column}: is empty")
    _refuse_surrogates(value, f"column {column}")
    return value


def _refuse_surrogates(text: str, where: str) -> None:
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise DataError(f"{where}: holds a lone surrogate, which no encoding can write")


def _require(wanted: Sequence[str], columns: Sequence[str]) -> None:
    missing = [column for column in wanted if column not in columns]
    if missing:
        raise DataError(f"there is no column {', '.join(missing)}; the rows have: {', '.join(columns)}")


def _shapes() -> str:
    return "; ".join(f"{name} ({', '.join(FORMATS.load(name).columns)})" for name in _IN_ORDER)


CHAT = DataFormat(("messages",), _chat)
SHARE_GPT = DataFormat(("conversations",), _share_gpt)
PROMPT_COMPLETION = DataFormat(("prompt", "completion"), _prompt_completion)
INSTRUCTION = DataFormat(("instruction", "output"), _instruction)
INSTRUCTION_RESPONSE = DataFormat(("instruction", "response"), partial(_instruction, answer_column="response"))
QUESTION_ANSWERING = DataFormat(("question", "answer"), _question_answering)
INPUT_OUTPUT = DataFormat(("input", "output"), _input_output)
TEXT = DataFormat(("text",), _plain_text)

_BUILTIN = {
    "chat": "tuning.data.formats:CHAT",
    "sharegpt": "tuning.data.formats:SHARE_GPT",
    "prompt_completion": "tuning.data.formats:PROMPT_COMPLETION",
    "instruction": "tuning.data.formats:INSTRUCTION",
    "instruction_response": "tuning.data.formats:INSTRUCTION_RESPONSE",
    "question_answering": "tuning.data.formats:QUESTION_ANSWERING",
    "input_output": "tuning.data.formats:INPUT_OUTPUT",
    "text": "tuning.data.formats:TEXT",
}
_IN_ORDER = tuple(_BUILTIN)
"""The order in which the columns are looked at: the more telling shape first."""

FORMATS: Registry[DataFormat] = Registry("data format", _BUILTIN, "tuning.data_formats")
