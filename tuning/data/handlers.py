"""Steps that the rows of a dataset go through, by name: each makes columns, changes them, or leaves a row out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from tuning.config.sections import Dataset, Handler
from tuning.data.handler_arguments import with_lists, wrong_arguments
from tuning.data.pieces import ADD_EOS_TOKEN
from tuning.data.tokenization import MAX_NUM_TOKENS
from tuning.errors import ConfigError, DataError, UserError, shown
from tuning.registry import Registry

Columns = Mapping[str, Any]
Step = Callable[[Columns], dict[str, Any] | None]
"""A row to what becomes of it; None: it is left out."""

_ALL = "all"
_OF_DATASETS = frozenset(
    {"batched", "batch_size", "num_proc", "desc", "load_from_cache_file", "keep_in_memory", "writer_batch_size"}
)
"""Arguments of `Dataset.map` that say how it works, and nothing of what comes out."""


@dataclass(frozen=True)
class DataHandler:
    """A function of a row and arguments, which returns the columns that it makes; None leaves the row out.

    `settings` says of the arguments how the row is to be read from then on, by the fields of `Dataset`, and
    `tokenizing` how it is to be tokenized, by `ADD_EOS_TOKEN` and `MAX_NUM_TOKENS`; `renamed` maps names that arguments
    had in older releases of fms-hf-tuning to those of today.
    """

    function: Callable[..., Columns | None]
    returns_whole_row: bool = False
    settings: Callable[[Mapping[str, Any]], dict[str, str]] = lambda arguments: {}
    tokenizing: Callable[[Mapping[str, Any]], dict[str, Any]] = lambda arguments: {}
    renamed: Mapping[str, str] = field(default_factory=dict)

    def arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Write the function's arguments by the names that they have today, with its defaults.

        Raises:
            UserError: one is missing, or there is none of that name.
            ConfigError: one is of another type than its annotation; by the names that were given.
        """
        named = with_lists(self.function, {self.renamed.get(name, name): value for name, value in given.items()})
        try:
            inspect.signature(self.function).bind({}, **named)
        except TypeError as error:
            raise UserError(f"{error}; it takes {', '.join(_parameters(self.function)) or 'none'}") from error
        written = {self.renamed.get(name, name): name for name in given}
        wrong = [replace(each, path=written[name]) for name, each in wrong_arguments(self.function, named)]
        if wrong:
            raise ConfigError(wrong)
        parameters = inspect.signature(self.function).parameters.values()
        return {each.name: each.default for each in parameters if each.default is not inspect.Parameter.empty} | named


def build_steps(dataset: Dataset) -> list[Step]:
    """Make the steps of a dataset: columns are renamed, then kept, then its handlers follow in their order.

    Raises:
        UserError: a handler is not known, or its arguments are wrong; names the handler.
    """
    steps: list[Step] = []
    if dataset.rename_columns:
        arguments: dict[str, Any] = {"column_mapping": dataset.rename_columns}
        steps.append(_step(Handler(name="rename_columns", arguments=arguments)))
    if dataset.retain_columns is not None:
        arguments = {"column_names": dataset.retain_columns}
        steps.append(_step(Handler(name="select_columns", arguments=arguments), "retain_columns"))
    return steps + [_step(handler) for handler in dataset.data_handlers or ()]


def implied_settings(dataset: Dataset) -> dict[str, str]:
    """Say how the rows are to be read after the handlers, by the fields of `Dataset`; the last handler decides."""
    found: dict[str, str] = {}
    for handler in dataset.data_handlers or ():
        found = _settings_of(handler) or found
    return found


def tokenizing_settings(dataset: Dataset) -> dict[str, Any]:
    """Say how the rows are to be tokenized after the handlers: the last decides about the end token."""
    asked = [_handler(each.name).tokenizing(_arguments_of(each)) for each in dataset.data_handlers or ()]
    limits = [each[MAX_NUM_TOKENS] for each in asked if MAX_NUM_TOKENS in each]
    endings = [each[ADD_EOS_TOKEN] for each in asked if ADD_EOS_TOKEN in each]
    longest = {MAX_NUM_TOKENS: min(limits)} if limits else {}
    return longest if all(endings[-1:]) else {**longest, ADD_EOS_TOKEN: False}


def check_handler(handler: Handler) -> None:
    """Look a handler and its arguments up.

    Raises:
        UserError: it is not known, or its arguments are wrong.
        ConfigError: arguments are of the wrong type; by their names.
    """
    _step(handler)


def apply_steps(steps: Iterable[Step], row: Columns) -> dict[str, Any] | None:
    """Take a row through steps; None where one of them leaves it out.

    Raises:
        DataError: a step cannot use the row.
    """
    current: dict[str, Any] | None = dict(row)
    for step in steps:
        if current is None:
            return None
        current = step(current)
    return current


def _step(handler: Handler, told_as: str | None = None) -> Step:
    found, arguments = _handler(handler.name), _arguments_of(handler)
    _settings_of(handler)  # which looks at what the arguments say, such as the syntax of a template
    function = partial(found.function, **arguments)
    if found.returns_whole_row:
        return partial(_run, told_as or handler.name, function)
    removed = (handler.arguments or {}).get("remove_columns") or ()
    return partial(_run, handler.name, partial(_with_new_columns, function, _as_names(removed)))


def _settings_of(handler: Handler) -> dict[str, str]:
    arguments = _arguments_of(handler)
    try:
        return _handler(handler.name).settings(arguments)
    except (TypeError, ValueError, AttributeError) as error:
        raise error if isinstance(error, UserError) else UserError(f"{error}; got {shown(arguments)}") from error


def _with_new_columns(function: Callable[..., Any], removed: Sequence[str] | str, row: Columns) -> Columns | None:
    """Add what the function makes to the row, whose columns may be removed for it, as `Dataset.map` does."""
    made = function(row)
    if made is None:
        return None
    kept = {} if removed == _ALL else {name: value for name, value in row.items() if name not in removed}
    return {**kept, **made}


def _run(name: str, function: Callable[..., Any], row: Columns) -> dict[str, Any] | None:
    try:
        made = function(row)
    except (DataError, KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        told = str(error) if isinstance(error, DataError) else f"{type(error).__name__}: {error}"
        raise DataError(f"{name}: {told}") from error
    if made is not None and not isinstance(made, Mapping):
        raise UserError(f"data handler '{name}' returned {type(made).__name__}, not the columns that it makes or None")
    return None if made is None else dict(made)


def _handler(name: str) -> DataHandler:
    found: Any = DATA_HANDLERS.load(name)
    if isinstance(found, DataHandler):
        return found
    if not callable(found):
        raise UserError(f"data handler '{name}': expected a function, got {type(found).__name__}")
    function: Any = found
    return DataHandler(function)


def _arguments_of(handler: Handler) -> dict[str, Any]:
    """Take the function's own arguments out of those that fms-hf-tuning hands to `Dataset.map` beside them."""
    found, given = _handler(handler.name), dict(handler.arguments or {})
    own = given.pop("fn_kwargs", None) or {}
    if not isinstance(own, Mapping):
        raise UserError(f"fn_kwargs: expected an object, got {type(own).__name__}")
    of_map = _OF_DATASETS if found.returns_whole_row else _OF_DATASETS | {"remove_columns"}
    try:
        return found.arguments({**{name: value for name, value in given.items() if name not in of_map}, **own})
    except ConfigError as error:
        raise ConfigError(replace(each, source=f"data handler {handler.name}") for each in error.problems) from error


def _as_names(removed: Any) -> Sequence[str] | str:
    if removed == _ALL:
        return _ALL
    names = [removed] if isinstance(removed, str) else removed
    if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise UserError(f"remove_columns: expected all, or a list of names, got {shown(removed)}")
    return names


def _parameters(function: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(function).parameters)[1:]


_MODULE = "tuning.data.row_handlers"
_BUILTIN = {
    "add_tokenizer_eos_token": f"{_MODULE}:ADD_TOKENIZER_EOS_TOKEN",
    "apply_custom_data_formatting_jinja_template": f"{_MODULE}:APPLY_CUSTOM_JINJA_TEMPLATE",
    "apply_custom_data_formatting_template": f"{_MODULE}:APPLY_CUSTOM_JINJA_TEMPLATE",
    "apply_custom_jinja_template": f"{_MODULE}:APPLY_CUSTOM_JINJA_TEMPLATE",
    "apply_dataset_formatting": f"{_MODULE}:ADD_TOKENIZER_EOS_TOKEN",
    "apply_tokenizer_chat_template": f"{_MODULE}:APPLY_CHAT_TEMPLATE",
    "duplicate_columns": f"{_MODULE}:DUPLICATE_COLUMNS",
    "filter_rows": f"{_MODULE}:FILTER_ROWS",
    "remove_columns": f"{_MODULE}:REMOVE_COLUMNS",
    "rename_columns": f"{_MODULE}:RENAME_COLUMNS",
    "select_columns": f"{_MODULE}:SELECT_COLUMNS",
    "skip_large_columns": f"{_MODULE}:SKIP_SAMPLES_WITH_LARGE_COLUMNS",
    "skip_large_text": f"{_MODULE}:SKIP_SAMPLES_WITH_LARGE_COLUMNS",
    "skip_samples_with_large_columns": f"{_MODULE}:SKIP_SAMPLES_WITH_LARGE_COLUMNS",
    "tokenize": f"{_MODULE}:TOKENIZE",
    "tokenize_and_apply_chat_template_with_masking": f"{_MODULE}:APPLY_CHAT_TEMPLATE",
    "tokenize_and_apply_input_masking": f"{_MODULE}:TOKENIZE_AND_APPLY_INPUT_MASKING",
}

DATA_HANDLERS: Registry[DataHandler | Callable[..., Columns | None]] = Registry(
    "data handler", _BUILTIN, "tuning.data_handlers"
)
"""Handlers by name. A plain function of a row and arguments may be registered too: it returns the columns it makes."""
