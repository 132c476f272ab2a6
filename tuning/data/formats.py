"""Turn rows into what is trained on: prompt and completion, messages, text or tokens, by the shape of the row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from tuning.data.cells import checked_text, text_of
from tuning.data.conversations import chat, mtrag, prompt_completion, share_gpt
from tuning.data.pretokenized import pretokenized
from tuning.data.prompts import (
    classification,
    input_output,
    instruction,
    ms_marco,
    plain_text,
    question_answering,
    solution,
    squad,
)
from tuning.data.tasks import TASKS
from tuning.data.templates import row_renderer
from tuning.errors import DataError, UserError, shown
from tuning.registry import Registry

Convert = Callable[[Mapping[str, Any]], dict[str, Any]]


class RowSettings(Protocol):
    """The fields of the configuration that say what rows look like: those of `Data` and of `Dataset`."""

    @property
    def task_type(self) -> str | None: ...
    @property
    def data_format(self) -> str | None: ...
    @property
    def dataset_text_field(self) -> str | None: ...
    @property
    def dataset_conversation_field(self) -> str | None: ...
    @property
    def data_formatter_template(self) -> str | None: ...
    @property
    def response_template(self) -> str | None: ...
    @property
    def label_separator(self) -> str | None: ...


class MissingSeparator(DataError):
    """A row lacks the text that the user has named as standing in each of them."""


@dataclass(frozen=True)
class DataFormat:
    """One shape of row: the columns that it needs, others that it can use, and how it becomes trainable."""

    columns: tuple[str, ...]
    convert: Convert
    """Row to `{"prompt", "completion"}`, `{"messages"}`, `{"text"}` or `{"input_ids"}`; with `tools` or `labels` where
    it has them. Raises DataError for a row it cannot use."""


def recognise(columns: Sequence[str], data: RowSettings) -> str:
    """Name the format of rows with these columns, as the configuration or else the columns say.

    Raises:
        DataError: no format fits; names the columns and the formats.
    """
    if data.data_formatter_template or data.dataset_text_field or data.label_separator:
        return "text"
    if data.dataset_conversation_field:
        return "chat"
    if data.data_format:
        return data.data_format
    known = TASKS.load(data.task_type).formats if data.task_type else _IN_ORDER
    found = next((name for name in known if set(FORMATS.load(name).columns) <= set(columns)), None)
    if found is None:
        task = f" of task_type {data.task_type}" if data.task_type else ""
        raise DataError(
            f"no format{task} fits the columns {', '.join(columns)}. Known: {_shapes(known)}. "
            "Or give data_formatter_template, or dataset_text_field."
        )
    return found


def converter(data: RowSettings, columns: Sequence[str]) -> Convert:
    """Make the function that turns rows with these columns into what is trained on.

    Raises:
        DataError: no format fits, a column that the configuration names is not there, or `response_template` is given
            for rows that are no text.
    """
    name = recognise(columns, data)
    _refuse_response_template(name, data)
    if data.data_formatter_template:
        return _parted(row_renderer(data.data_formatter_template, columns), data)
    if name == "text":
        column = data.dataset_text_field or "text"
        _require([column], columns)
        return _parted(lambda row: text_of(row, column), data)
    if name == "chat" and data.dataset_conversation_field:
        _require([data.dataset_conversation_field], columns)
        return partial(chat, column=data.dataset_conversation_field)
    found = FORMATS.load(name)
    _require(found.columns, columns)
    return found.convert


def _refuse_response_template(name: str, data: RowSettings) -> None:
    """Refuse a template that would part nothing; in conversations it agrees with the roles of the messages."""
    if data.response_template and name not in _TEXT_OR_TURNS:
        told = f"rows of the format {name} are no texts, so it parts nothing"
        raise DataError(f"response_template: got {shown(data.response_template)}; {told}. Leave it out.")


def _parted(render: Callable[[Mapping[str, Any]], str], data: RowSettings) -> Convert:
    """Part a text into prompt and completion; with nothing that parts it, all of it is trained on."""
    if data.label_separator and data.response_template:
        raise UserError("label_separator and response_template both say where the answer starts; keep one")
    if data.label_separator:
        part = partial(_at_separator, separator=data.label_separator)
    elif data.response_template:
        part = partial(_after_response_template, template=data.response_template)
    else:
        part = _whole
    return lambda row: part(checked_text(render(row), "the text of the row"))


def _whole(text: str) -> dict[str, Any]:
    return {"text": text}


def _at_separator(text: str, separator: str) -> dict[str, Any]:
    before, found, answer = text.partition(separator)
    if not found:
        raise MissingSeparator(f"label_separator {separator!r} does not stand in the text of the row")
    if not answer.strip():
        raise DataError(f"nothing follows label_separator {separator!r} in the text of the row")
    return {"prompt": before, "completion": answer}


def _after_response_template(text: str, template: str) -> dict[str, Any]:
    before, found, response = text.rpartition(template)  # the last one, as TRL's collator took it
    if not found:
        raise DataError(f"response_template {template!r} does not stand in the text of the row")
    if not response.strip():
        raise DataError(f"nothing follows response_template {template!r} in the text of the row")
    return {"prompt": before + found, "completion": response}


def _require(wanted: Sequence[str], columns: Sequence[str]) -> None:
    missing = [column for column in wanted if column not in columns]
    if missing:
        raise DataError(f"there is no column {', '.join(missing)}; the rows have: {', '.join(columns)}")


def _shapes(names: Iterable[str]) -> str:
    return "; ".join(f"{name} ({', '.join(FORMATS.load(name).columns)})" for name in names)


PRETOKENIZED = DataFormat(("input_ids",), pretokenized)
CHAT = DataFormat(("messages",), chat)
SHARE_GPT = DataFormat(("conversations",), share_gpt)
PROMPT_COMPLETION = DataFormat(("prompt", "completion"), prompt_completion)
SOLUTION = DataFormat(("prompt", "canonical_solution"), solution)
INSTRUCTION = DataFormat(("instruction", "output"), instruction)
INSTRUCTION_RESPONSE = DataFormat(("instruction", "response"), partial(instruction, answer_column="response"))
MS_MARCO = DataFormat(("query", "passages", "answers"), ms_marco)
MTRAG = DataFormat(("contexts", "input", "targets"), mtrag)
QUESTION_ANSWERING = DataFormat(("question", "answer"), question_answering)
SQUAD = DataFormat(("context", "question", "answers"), squad)
INPUT_OUTPUT = DataFormat(("input", "output"), input_output)
TEXT_CATEGORY = DataFormat(("text", "category"), partial(classification, label_column="category"))
TEXT_LABEL = DataFormat(("text", "label"), partial(classification, label_column="label"))
TEXT = DataFormat(("text",), plain_text)

_BUILTIN = {
    "pretokenized": "tuning.data.formats:PRETOKENIZED",
    "chat": "tuning.data.formats:CHAT",
    "sharegpt": "tuning.data.formats:SHARE_GPT",
    "prompt_completion": "tuning.data.formats:PROMPT_COMPLETION",
    "solution": "tuning.data.formats:SOLUTION",
    "instruction": "tuning.data.formats:INSTRUCTION",
    "instruction_response": "tuning.data.formats:INSTRUCTION_RESPONSE",
    "ms_marco": "tuning.data.formats:MS_MARCO",
    "mtrag": "tuning.data.formats:MTRAG",
    "question_answering": "tuning.data.formats:QUESTION_ANSWERING",
    "squad": "tuning.data.formats:SQUAD",
    "input_output": "tuning.data.formats:INPUT_OUTPUT",
    "text_category": "tuning.data.formats:TEXT_CATEGORY",
    "text_label": "tuning.data.formats:TEXT_LABEL",
    "text": "tuning.data.formats:TEXT",
}
_TEXT_OR_TURNS = ("text", "chat", "sharegpt", "mtrag")
_BY_REQUEST = ("text_category", "text_label")
"""Formats that only `task_type` or `data_format` chooses: such rows may as well be texts with a note beside them."""
_IN_ORDER = tuple(name for name in _BUILTIN if name not in _BY_REQUEST)
"""The order in which the columns are looked at: the more telling shape first."""

FORMATS: Registry[DataFormat] = Registry("data format", _BUILTIN, "tuning.data_formats")
