"""The handlers that are built in: pure functions of a row, under the names that fms-hf-tuning gives them.

Those that tokenize there make a row here that the run's own tokenizing takes up: a text, a prompt and its completion,
or a conversation.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tuning.data.cells import checked_text
from tuning.data.handlers import Columns, DataHandler
from tuning.data.pieces import ADD_EOS_TOKEN
from tuning.data.templates import row_renderer
from tuning.data.tokenization import MAX_NUM_TOKENS
from tuning.errors import DataError, UserError

_FROM_TOKENIZING = frozenset({"input_ids", "labels", "attention_mask"})
_WHITE_SPACE = (" ", "\n", "\t")
_RAW = re.compile(r"\s*\{%-?\s*raw\s*-?%\}(.*)\{%-?\s*endraw\s*-?%\}\s*", re.DOTALL)
_NAME_WITH_BLANKS = re.compile(r"\{\{\s*[\w.\-]+(?:[\s.\-]+[\w.\-]+)+\s*\}\}")
_END_TOKEN = re.compile(r"\{\{-?\s*eos_token\s*-?\}\}\s*$")


def without_raw(template: str) -> str:
    """Take a template out of the `{% raw %}` block that fms-hf-tuning's files protect it with."""
    found = _RAW.fullmatch(template)
    return found[1].strip("\n") if found else template


def add_tokenizer_eos_token(row: Columns, text_column_name: str = "text") -> Columns:
    """Leave a text as it is: the end token is added to every text when it is tokenized."""
    return {text_column_name: _text(row, text_column_name)}


def apply_custom_jinja_template(
    row: Columns, template: str, formatted_text_column_name: str = "text", add_eos_token: bool = True
) -> Columns:
    """Write a row by a Jinja template of its columns; `element` is the row itself, for columns with odd names."""
    odd = tuple(sorted(name for name in row if not name.isidentifier()))
    return {formatted_text_column_name: _renderer(template, odd)(row)}


def apply_chat_template(
    row: Columns,
    conversation_column_name: str | None = None,
    formatted_text_column_name: str | None = None,
    max_seq_length: int | None = None,
) -> Columns:
    """Take the conversation of a row; the chat template writes it when the row is tokenized."""
    column = conversation_column_name or "messages"
    _require(row, [column])
    return {"messages": row[column], **({"tools": row["tools"]} if row.get("tools") else {})}


def duplicate_columns(row: Columns, existing_column_name: str, new_column_name: str) -> Columns:
    """Copy a column to another that is not there yet."""
    if existing_column_name not in row and existing_column_name in _FROM_TOKENIZING:
        return row  # tokenizing comes later here, and makes the labels too
    _require(row, [existing_column_name])
    if new_column_name in row:
        raise DataError(f"there is a column {new_column_name} already")
    return {existing_column_name: row[existing_column_name], new_column_name: row[existing_column_name]}


def filter_rows(row: Columns, condition: str) -> Columns | None:
    """Keep the rows for which a Jinja expression over the columns is true."""
    odd = tuple(sorted(name for name in row if not name.isidentifier()))
    return row if _renderer(_as_test(condition), odd)(row) else None


def skip_samples_with_large_columns(row: Columns, column_name: str, max_allowed_length: int) -> Columns | None:
    """Leave out a row where a column is longer than the given characters, items or, for `input_ids`, tokens."""
    if column_name not in row and column_name in _FROM_TOKENIZING:
        return row
    _require(row, [column_name])
    if not hasattr(row[column_name], "__len__"):
        told = f"expected something that has a length, got {type(row[column_name]).__name__}"
        raise DataError(f"column {column_name}: {told}")
    return row if len(row[column_name]) <= max_allowed_length else None


def remove_columns(row: Columns, column_names: Sequence[str]) -> Columns:
    """Remove columns."""
    _require(row, column_names)
    return {name: value for name, value in row.items() if name not in column_names}


def select_columns(row: Columns, column_names: Sequence[str]) -> Columns:
    """Keep these columns, and no others."""
    _require(row, column_names)
    return {name: row[name] for name in column_names}


def rename_columns(row: Columns, column_mapping: Mapping[str, str]) -> Columns:
    """Rename columns: old name to new."""
    _require(row, list(column_mapping))
    taken = [new for old, new in column_mapping.items() if new in row and new not in column_mapping]
    if taken:
        raise DataError(f"there is a column {', '.join(taken)} already")
    return {column_mapping.get(name, name): value for name, value in row.items()}


def tokenize(
    row: Columns,
    text_column_name: str = "text",
    truncation: Any = True,
    max_length: int | None = None,
    tokenizer_kwargs: Mapping[str, Any] | None = None,
) -> Columns:
    """Take a column as the text of the row."""
    return {"text": _text(row, text_column_name)}


def tokenize_and_apply_input_masking(
    row: Columns,
    input_column_name: str,
    output_column_name: str,
    add_eos_token: bool = True,
    tokenizer_kwargs: Mapping[str, Any] | None = None,
) -> Columns:
    """Take one column as the prompt and another as its completion, with a space between where there is none."""
    prompt, completion = _text(row, input_column_name), _text(row, output_column_name)
    space = "" if prompt.endswith(_WHITE_SPACE) or completion.startswith(_WHITE_SPACE) else " "
    return {"prompt": prompt, "completion": space + completion}


def repeated_names(column_mapping: Mapping[str, str]) -> list[str]:
    """List the new names that several columns would get."""
    return [name for name, times in Counter(column_mapping.values()).items() if times > 1]


def _require(row: Columns, names: Sequence[str]) -> None:
    missing = [name for name in names if name not in row]
    if missing:
        raise DataError(f"there is no column {', '.join(missing)}; the row has: {', '.join(row)}")


def _text(row: Columns, column: str) -> str:
    _require(row, [column])
    return checked_text(row[column], f"column {column}", may_be_empty=True)


@functools.lru_cache(maxsize=64)
def _renderer(template: str, columns: tuple[str, ...]) -> Callable[[Columns], str]:
    return row_renderer(_END_TOKEN.sub("", without_raw(template)), columns, "template")


def _as_test(condition: str) -> str:
    return f"{{% if {condition} %}}1{{% endif %}}"


def _settings_of_template(arguments: Mapping[str, Any]) -> dict[str, str]:
    _renderer(_NAME_WITH_BLANKS.sub("", without_raw(arguments["template"])), ())  # columns are not known yet
    return {"dataset_text_field": arguments["formatted_text_column_name"]}


def _settings_of_filter(arguments: Mapping[str, Any]) -> dict[str, str]:
    _renderer(_as_test(arguments["condition"]), ())
    return {}


def _settings_of_renaming(arguments: Mapping[str, Any]) -> dict[str, str]:
    repeated = repeated_names(arguments["column_mapping"])
    if repeated:
        raise UserError(f"several columns would be called {', '.join(repeated)}; give each a name of its own")
    return {}


def _ending(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {ADD_EOS_TOKEN: arguments["add_eos_token"]}


def _limit_of_tokens(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {MAX_NUM_TOKENS: arguments["max_allowed_length"]} if arguments["column_name"] in _FROM_TOKENIZING else {}


_FORMATTED = {"dataset_text_field": "formatted_text_column_name"}
ADD_TOKENIZER_EOS_TOKEN = DataHandler(
    add_tokenizer_eos_token,
    settings=lambda arguments: {"dataset_text_field": arguments["text_column_name"]},
    tokenizing=lambda arguments: {ADD_EOS_TOKEN: True},
    renamed={"dataset_text_field": "text_column_name"},
)
APPLY_CHAT_TEMPLATE = DataHandler(
    apply_chat_template,
    settings=lambda arguments: {"data_format": "chat"},
    renamed={**_FORMATTED, "conversation_column": "conversation_column_name"},
)
APPLY_CUSTOM_JINJA_TEMPLATE = DataHandler(
    apply_custom_jinja_template, settings=_settings_of_template, tokenizing=_ending, renamed=_FORMATTED
)
DUPLICATE_COLUMNS = DataHandler(
    duplicate_columns,
    renamed={
        "old_column": "existing_column_name",
        "new_column": "new_column_name",
        "existing_column": "existing_column_name",
    },
)
FILTER_ROWS = DataHandler(filter_rows, settings=_settings_of_filter)
REMOVE_COLUMNS = DataHandler(remove_columns, returns_whole_row=True)
RENAME_COLUMNS = DataHandler(rename_columns, returns_whole_row=True, settings=_settings_of_renaming)
SELECT_COLUMNS = DataHandler(select_columns, returns_whole_row=True)
SKIP_SAMPLES_WITH_LARGE_COLUMNS = DataHandler(
    skip_samples_with_large_columns, tokenizing=_limit_of_tokens, renamed={"max_length": "max_allowed_length"}
)
TOKENIZE = DataHandler(
    tokenize,
    settings=lambda arguments: {"dataset_text_field": "text"},
    renamed={"dataset_text_field": "text_column_name"},
)
TOKENIZE_AND_APPLY_INPUT_MASKING = DataHandler(
    tokenize_and_apply_input_masking,
    settings=lambda arguments: {"data_format": "prompt_completion"},
    tokenizing=_ending,
    renamed={"input_field_name": "input_column_name", "output_field_name": "output_column_name"},
)
