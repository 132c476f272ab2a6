"""fms-hf-tuning's data file: where the rows are, how they are split, and which handlers make text of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tuning.config.ir import IR
from tuning.data.data_config import data_config_of
from tuning.errors import ConfigError
from tuning.recommender.adapters.adapter import Imported
from tuning.recommender.adapters.mapping import Reading, Row, Writing

FORMATTED_TEXT = "formatted_text"
"""The column that our data file has a template's text written to."""
_MASKED: dict[tuple[str, str], str] = {
    ("input", "output"): "input_output",
    ("prompt", "completion"): "prompt_completion",
}
"""Columns of tokenize_and_apply_input_masking -> data_format."""
_CHAT = ("tokenize_and_apply_chat_template_with_masking", "apply_tokenizer_chat_template")
_TEMPLATES = ("apply_custom_jinja_template", "apply_custom_data_formatting_template")
_MASKING = "tokenize_and_apply_input_masking"
_RAW = re.compile(r"^\s*\{%-?\s*raw\s*-?%\}\s*(.*?)\s*\{%-?\s*endraw\s*-?%\}\s*$", re.DOTALL)
_SAID_OTHERWISE = (".builder", ".max_seq_length")
"""What a dataset may say beside the simple things without becoming an entry of `data.datasets`."""
_PROCESSOR = {
    "data.sampling_stopping_strategy": "sampling_stopping_strategy",
    "data.sampling_seed": "seed",
    "data.streaming": "streaming",
}
"""Fields of ours -> keys of the dataprocessor."""
_ALONE = frozenset(
    {"name", "data_paths", "sampling", "split", "rename_columns", "retain_columns", "data_handlers", "dataset_split"}
)
"""Settings of a dataset that their file has, too; their name of the last is dataset_split_name."""


def read_data_config(document: Mapping[str, Any], source: str) -> Imported:
    """Read the data file: one kind of row by our plain fields, everything else as `data.datasets`.

    Raises:
        ConfigError: the file is not of this shape.
    """
    simple = _read_simply(document, source)
    lost = (item.key for item in simple.unmapped if item.key.startswith("datasets["))
    if all(key.endswith(_SAID_OTHERWISE) for key in lost):
        return simple
    found = data_config_of(document, source)
    if found.problems:
        raise ConfigError(found.problems)
    return Imported(IR.of({"data": found.data, **({"model": found.model} if found.model else {})}, source), ())


def _read_simply(document: Mapping[str, Any], source: str) -> Imported:
    reading = Reading(document, source)
    processor = reading.get("dataprocessor") or {}
    if not isinstance(processor, Mapping):
        reading.refuse("dataprocessor", processor, "expected an object")
    elif processor.get("type") == "default":
        reading.take("dataprocessor.type")
    for path, key in _PROCESSOR.items():
        reading.carry(Row(f"dataprocessor.{key}", path))
    for key in ("chat_template", "dataprocessor.chat_template"):
        if isinstance(template := reading.take(key), str):
            found = _RAW.match(template)
            reading.put("model.chat_template", found[1] if found else template, key)
    _read_datasets(reading)
    return reading.finish({}, "has no counterpart here")


def _read_datasets(reading: Reading) -> None:
    datasets = reading.take("datasets")
    if datasets is None:
        return
    if not isinstance(datasets, list) or not all(isinstance(dataset, Mapping) for dataset in datasets):
        reading.refuse("datasets", datasets, "expected a list of objects")
        return
    parts: dict[str, list[Any]] = {"training_data_path": [], "validation_data_path": []}
    for index, dataset in enumerate(datasets):
        _read_dataset(reading, f"datasets[{index}]", dict(dataset), parts, len(datasets))
    for name, paths in parts.items():
        if paths:
            reading.put(f"data.{name}", paths, "datasets[].data_paths")


def _read_dataset(reading: Reading, key: str, dataset: dict[str, Any], parts: dict[str, list[Any]], count: int) -> None:
    paths, split, _ = dataset.pop("data_paths", None), dataset.pop("split", None), dataset.pop("name", None)
    if not isinstance(paths, list) or not all(isinstance(path, str) and path for path in paths):
        reading.refuse(f"{key}.data_paths", paths, "expected a list of files, folders or Hub ids")
        return
    shares = _shares(split)
    if shares == (0.0, 1.0):
        parts["validation_data_path"] += paths
    else:
        parts["training_data_path"] += paths
        if shares is not None and count == 1 and abs(sum(shares) - 1) < 1e-9:
            reading.put("data.validation_fraction", shares[1], f"{key}.split")
        elif split is not None:
            reading.skip(f"{key}.split", split, "one dataset can be split, into two parts that add up to 1")
    handlers = dataset.pop("data_handlers", None) or []
    for place, handler in enumerate(handlers if isinstance(handlers, list) else [handlers]):
        _read_handler(reading, f"{key}.data_handlers[{place}]", handler)
    for name, value in dataset.items():
        reading.skip(f"{key}.{name}", value, "has no counterpart here")


def _shares(split: Any) -> tuple[float, float] | None:
    """Return the shares of a split into train and validation; None where it is something else."""
    if not isinstance(split, Mapping) or not split.keys() <= {"train", "validation"}:
        return None
    values = [split.get(part, 0.0) for part in ("train", "validation")]
    numbers = [float(value) for value in values if isinstance(value, (int, float)) and 0 <= value <= 1]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else None


def _read_handler(reading: Reading, key: str, handler: Any) -> None:
    """Read one handler by what it makes of a row; a second one that says something else is unmapped."""
    if not isinstance(handler, Mapping) or not isinstance(handler.get("name"), str):
        reading.refuse(key, handler, "expected an object with name and arguments")
        return
    arguments = handler.get("arguments") or {}
    given = (arguments.get("fn_kwargs") if isinstance(arguments, Mapping) else None) or {}
    said = dict(_meaning(handler["name"], given)) if isinstance(given, Mapping) else {}
    held = {path: value for path, value in _held(reading).items() if path not in said or value != said[path]}
    if not said or held:
        why = "another handler says otherwise" if said else "such a handler has no counterpart here"
        reading.skip(key, handler, why)
        return
    for path, value in said.items():
        reading.put(path, value, f"{key}.arguments.fn_kwargs")
    if "max_seq_length" in given:
        reading.skip(f"{key}.arguments.fn_kwargs.max_seq_length", given["max_seq_length"], "max_length says it here")


def _meaning(name: str, given: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield our fields for a handler and its arguments."""
    if name in _TEMPLATES and isinstance(given.get("template"), str):
        yield "data.data_formatter_template", given["template"]
    elif name in _CHAT:
        column = given.get("conversation_column") or given.get("conversation_column_name")
        yield ("data.dataset_conversation_field", column) if column else ("data.data_format", "chat")
    elif name == _MASKING:
        columns = (str(given.get("input_column_name")), str(given.get("output_column_name")))
        yield from [("data.data_format", _MASKED[columns])] if columns in _MASKED else []


def _held(reading: Reading) -> dict[str, Any]:
    data = reading.values.get("data", {})
    names = ("data_formatter_template", "dataset_conversation_field", "data_format")
    return {f"data.{name}": data[name] for name in names if name in data}


def write_data_config(writing: Writing) -> dict[str, Any]:
    """Write the data file from the fields about rows, where it is known where they are; else nothing."""
    if (several := writing.take("data.datasets")) is not None:
        return {
            "dataprocessor": _processor(writing),
            "datasets": [_entry(writing, *item) for item in enumerate(several)],
        }
    training = writing.take("data.training_data_path")
    if training is None:
        return {}
    handlers, fraction = _handlers(writing), writing.take("data.validation_fraction")
    first: dict[str, Any] = {"name": "training", "data_paths": _as_list(training)}
    if fraction is not None:
        first["split"] = {"train": 1 - fraction, "validation": fraction}
    datasets = [first]
    if (held_out := writing.take("data.validation_data_path")) is not None:
        split = {"train": 0.0, "validation": 1.0}
        datasets.append({"name": "validation", "data_paths": _as_list(held_out), "split": split})
    for dataset in datasets if handlers else ():
        dataset["data_handlers"] = handlers
    return {"dataprocessor": _processor(writing), "datasets": datasets}


def _processor(writing: Writing) -> dict[str, Any]:
    given = {key: writing.take(path) for path, key in (*_PROCESSOR.items(), ("model.chat_template", "chat_template"))}
    return {"type": "default", **{key: value for key, value in given.items() if value is not None}}


def _entry(writing: Writing, number: int, dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Write one of several datasets; what only ours say of it is unmapped."""
    given = {name: value for name, value in dataset.items() if value is not None}
    for name in given.keys() - _ALONE - {"shuffle"}:
        writing.skip(f"data.datasets[{number}].{name}", given[name], "fms-hf-tuning tells it by a data handler")
    entry = {name: value for name, value in given.items() if name in _ALONE and name != "dataset_split"}
    return entry | ({"dataset_split_name": given["dataset_split"]} if "dataset_split" in given else {})


def _handlers(writing: Writing) -> list[dict[str, Any]]:
    columns = {name: columns for columns, name in _MASKED.items()}
    kind = writing.get("data.data_format")
    if (template := writing.take("data.data_formatter_template")) is not None:
        writing.put("dataset_text_field", FORMATTED_TEXT)
        return [_handler(_TEMPLATES[0], {"formatted_text_column_name": FORMATTED_TEXT, "template": template})]
    if (column := writing.take("data.dataset_conversation_field")) is not None:
        return [_handler(_CHAT[0], {"conversation_column": column})]
    if kind == "chat":
        writing.take("data.data_format")
        return [_handler(_CHAT[0], {})]
    if kind in columns:
        writing.take("data.data_format")
        names = ("input_column_name", "output_column_name")
        return [_handler(_MASKING, dict(zip(names, columns[kind], strict=True)))]
    return []


def _handler(name: str, given: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "arguments": {"remove_columns": "all", "batched": False, "fn_kwargs": given}}


def _as_list(paths: Any) -> list[str]:
    return [paths] if isinstance(paths, str) else list(paths)
