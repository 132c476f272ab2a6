"""How torchtune is told of rows: the builder of `dataset` and `dataset_val`, its source and its columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuning.recommender.adapters.conversions import BUILDERS, as_list, grouped, negated, take_default
from tuning.recommender.adapters.mapping import Reading, Row, Writing

_PLACE = "torchtune.datasets."
_BY_NAME = {"alpaca_dataset": "tatsu-lab/alpaca", "alpaca_cleaned_dataset": "yahma/alpaca-cleaned"}
"""Builders that know where their rows are."""


def _columns(first: str, second: str) -> dict[str, Any]:
    return {"_component_": f"{_PLACE}instruct_dataset", "column_map": {"input": first, "output": second}}


def _chat(column: str, style: str) -> dict[str, Any]:
    return {"_component_": f"{_PLACE}chat_dataset", "conversation_column": column, "conversation_style": style}


_SHAPES: dict[str, dict[str, Any]] = {
    "instruction": {"_component_": f"{_PLACE}alpaca_dataset"},
    "chat": _chat("messages", "openai"),
    "sharegpt": _chat("conversations", "sharegpt"),
    "prompt_completion": _columns("prompt", "completion"),
    "input_output": _columns("input", "output"),
    "question_answering": _columns("question", "answer"),
    "text": {"_component_": f"{_PLACE}text_completion_dataset", "column": "text"},
}
"""data_format -> the keys of a dataset that say the same."""
_SAYING = ("_component_", "column_map", "conversation_column", "conversation_style", "column")
_PACKING = {"dataset": "training.packing", "dataset_val": "training.eval_packing"}
_PARTS = (("dataset", "data.training_data_path"), ("dataset_val", "data.validation_data_path"))


def read_rows(reading: Reading) -> None:
    """Read both datasets; a list of them is one after the other."""
    shapes: list[dict[str, Any]] = []
    for key, path in _PARTS:
        given = reading.take(key)
        datasets = [] if given is None else as_list(given)
        if not all(isinstance(dataset, Mapping) for dataset in datasets):
            reading.refuse(key, given, "expected an object with a _component_")
            continue
        paths = [path for dataset in datasets for path in _read_dataset(reading, key, dataset, shapes)]
        if paths:
            reading.put(path, paths, f"{key}.source")
    for shape in shapes:
        if shape != shapes[0]:
            reading.skip("dataset._component_", shape.get("_component_"), "one run has rows of one shape")
    if shapes and shapes[0]:
        _read_shape(reading, shapes[0])


def _read_dataset(reading: Reading, key: str, dataset: Mapping[str, Any], shapes: list[dict[str, Any]]) -> list[str]:
    """Return the paths of a dataset, and add what says the shape of its rows to `shapes`."""
    left = Reading({name: value for name, value in dataset.items() if value is not None}, reading.source)
    shape = {name: value for name in _SAYING if (value := left.take(name)) is not None}
    builder = str(shape.get("_component_", "")).removeprefix(_PLACE)
    source, files = left.take("source") or _BY_NAME.get(builder), left.take("data_files")
    shape = {"_component_": f"{_PLACE}alpaca_dataset"} if builder in _BY_NAME else shape
    shapes.append({**_SHAPES["chat"], **shape} if builder == "chat_dataset" else shape)
    if (split := left.take("split")) is not None:
        reading.put("data.dataset_split", split, f"{key}.split")
    for name, path, read in (
        ("packed", _PACKING[key], lambda value: value),
        ("train_on_input", "training.completion_only_loss", negated),
    ):
        if (value := left.take(name)) is not None:
            reading.convert(Row(f"{key}.{name}", path, read), value)
    take_default(left, "max_seq_len", None)
    for name, value in left.left.items():
        reading.skip(f"{key}.{name}", value, "has no counterpart here")
    if source is not None and not isinstance(source, str):
        reading.refuse(f"{key}.source", source, "expected a Hub id, or the kind of data_files")
        return []
    if source is None:
        reading.skip(f"{key}._component_", builder, "such a dataset knows its own source; give training_data_path")
        return []
    return as_list(files) if source in BUILDERS and files is not None else [source]


def _read_shape(reading: Reading, shape: dict[str, Any]) -> None:
    by_shape = next((name for name, said in _SHAPES.items() if said == shape), None)
    column, builder = shape.get("conversation_column"), str(shape.get("_component_")).removeprefix(_PLACE)
    if by_shape is not None:
        reading.put("data.data_format", by_shape, "dataset._component_")
    elif builder == "chat_dataset" and shape.get("conversation_style") == "openai":
        reading.put("data.dataset_conversation_field", column, "dataset.conversation_column")
    elif builder == "text_completion_dataset":
        reading.put("data.dataset_text_field", shape.get("column", "text"), "dataset.column")
    else:
        for name, value in shape.items():
            reading.skip(f"dataset.{name}", value, "such rows have no counterpart here; give data_formatter_template")


def write_rows(writing: Writing) -> None:
    """Write both datasets; without a word about the rows' shape their builder has to be filled in."""
    paths = {key: found for key, path in _PARTS if (found := writing.take(path)) is not None}
    if not paths:
        return
    shape, split = _shape(writing), writing.take("data.dataset_split")
    answer_only = writing.take("training.completion_only_loss")
    said = {"split": split, "train_on_input": None if answer_only is None else not answer_only}
    for key, found in paths.items():
        packed = writing.take(_PACKING[key])
        more = {name: value for name, value in {**said, "packed": packed}.items() if value is not None}
        datasets = [{**shape, **_where(builder, files), **more} for builder, files in grouped(as_list(found))]
        writing.document[key] = datasets[0] if len(datasets) == 1 else datasets


def _where(builder: str | None, files: list[str]) -> dict[str, Any]:
    if builder is None:
        return {"source": files[0]}
    return {"source": builder, "data_files": files if len(files) > 1 else files[0]}


def _shape(writing: Writing) -> dict[str, Any]:
    if (column := writing.take("data.dataset_conversation_field")) is not None:
        return _chat(column, "openai")
    if (column := writing.take("data.dataset_text_field")) is not None:
        return {"_component_": f"{_PLACE}text_completion_dataset", "column": column}
    name = writing.take("data.data_format")
    if name in _SHAPES:
        return dict(_SHAPES[name])
    if name is not None:
        writing.skip("data.data_format", name, "torchtune has no builder for rows of this shape")
    return {}
