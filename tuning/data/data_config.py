"""Read a file of datasets as fms-hf-tuning writes it, and put what it says where this project keeps it."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuning.config.building import build_config
from tuning.config.entries import entry_problems
from tuning.config.ir import IR
from tuning.config.rules import only_one_of, shapes_of_rows
from tuning.config.sections import Data, Dataset
from tuning.config.strict_yaml import load_yaml
from tuning.config.text_files import read_text
from tuning.data.row_handlers import without_raw
from tuning.data.run_datasets import unusable_datasets
from tuning.errors import ConfigError, Problem, reason_of, shown
from tuning.registry import did_you_mean

_PROCESSOR = ("dataprocessor", "datapreprocessor")
_SEED = 42
"""Source: docs/advanced-data-preprocessing.md of fms-hf-tuning: the seed of a file that names none."""
_PROCESSOR_FIELDS = {
    "sampling_stopping_strategy": "sampling_stopping_strategy",
    "sampling_seed": "sampling_seed",
    "seed": "sampling_seed",
    "streaming": "streaming",
}
_TEMPLATES = ("chat_template", "chat_template_path", "chat_template_base64")
_BUILDERS = ("json", "csv", "parquet", "arrow")
_WHOLE_ROW = re.compile(r"messages\[\s*(['\"])messages\1\s*\]")
"""How a template finds the turns where fms-hf-tuning hands it the whole row."""


@dataclass
class DataConfig:
    """What a data config file says, by the names of our fields, and what is wrong in it."""

    source: str
    data: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def refuse(self, path: str, expected: str, value: Any = None, hint: str | None = None) -> None:
        """Note something wrong."""
        self.problems.append(Problem(path, expected, value, self.source, hint))


def with_datasets(ir: IR, problems: Sequence[Problem] = ()) -> IR:
    """Put what the file at `data.data_config_path` says into a document in its place, and check `data.datasets`.

    Its chat template counts where the document has none. `problems` were found before. Nothing is read where the
    document names its rows in another way too: a rule refuses that.

    Raises:
        ConfigError: the file cannot be read, or a dataset is not as it must be; holds `problems` too.
    """
    path = ir.get("data.data_config_path")
    if isinstance(path, str) and not ir.get("data.datasets") and not ir.get("data.training_data_path"):
        found = read_data_config(path)
        _raise(problems, found.problems)
        ir = ir.merge({"data": {"data_config_path": None}}, found.source)
        ir = ir.merge({"data": _undecided(ir, "data", found.data)}, found.source)
        if not (ir.get("model.chat_template") or ir.get("model.chat_template_path")):
            ir = ir.merge({"model": found.model}, found.source)
    datasets = ir.get("data.datasets")
    if isinstance(datasets, list):
        _raise(problems, list(entry_problems(Dataset, "data.datasets", datasets, ir.sources.get("data.datasets"))))
    return ir


def resolved(data: Data) -> Data:
    """Put what the file at `data_config_path` says into a section in its place.

    Raises:
        ConfigError: the file cannot be read, or what it says is wrong.
    """
    if data.data_config_path is None:
        return data
    ir = with_datasets(IR.of({"data": data.model_dump(mode="json", exclude_unset=True)}, "argument"))
    return build_config(ir, (unusable_datasets,), rules=(only_one_of, shapes_of_rows)).data


def read_data_config(path: str) -> DataConfig:
    """Read a data config file, YAML or JSON.

    Raises:
        ConfigError: it cannot be read at all.
    """
    found = DataConfig(f"data config {path}")
    return _read(found, _document(path, found))


def data_config_of(document: Mapping[str, Any], source: str) -> DataConfig:
    """Read the document that such a file holds."""
    return _read(DataConfig(source), document)


def _read(found: DataConfig, document: Mapping[str, Any]) -> DataConfig:
    for key in document.keys() - {*_PROCESSOR, "datasets"}:
        found.refuse(str(key), f"there is no such key; known: {_PROCESSOR[0]}, datasets", document[key])
    processor = next((document[name] for name in _PROCESSOR if document.get(name) is not None), {})
    if isinstance(processor, Mapping):
        _read_processor(found, processor)
    else:
        found.refuse(_PROCESSOR[0], "expected an object", processor)
    datasets = document.get("datasets")
    if isinstance(datasets, list) and datasets:
        found.data["datasets"] = [_dataset(found, number, entry) for number, entry in enumerate(datasets)]
    else:
        found.refuse("datasets", "expected a list of datasets, not empty", datasets)
    return found


def _document(path: str, found: DataConfig) -> dict[str, Any]:
    field_name = "data.data_config_path"
    try:
        document, problems = load_yaml(read_text(Path(os.path.expanduser(path))))
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(field_name, f"'{path}' is not UTF-8 at byte {error.start}")]) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError([Problem(field_name, f"'{path}' cannot be read: {reason}")]) from error
    except ValueError as error:
        raise ConfigError([Problem(field_name, f"'{path}' cannot be read: {reason_of(error)}")]) from error
    if not isinstance(document, dict):
        raise ConfigError([Problem(field_name, f"'{path}': expected an object with datasets, got {shown(document)}")])
    for problem in problems:
        found.refuse(problem.path, problem.expected, problem.value)
    return document


def _read_processor(found: DataConfig, processor: Mapping[str, Any]) -> None:
    found.data["sampling_seed"] = _SEED
    for key, value in processor.items():
        if value is None or key in _TEMPLATES:
            continue
        if key in _PROCESSOR_FIELDS:
            found.data[_PROCESSOR_FIELDS[key]] = value
        elif key in ("type", "odm") and value != "default":
            hint = "Use type: default; sampling then says the shares for the whole run."
            found.refuse(f"dataprocessor.{key}", "shares that change while training are not supported", value, hint)
        elif key != "type":
            known = ["type", *_PROCESSOR_FIELDS, *_TEMPLATES]
            found.refuse(f"dataprocessor.{key}", "there is no such key", value, did_you_mean(str(key), known))
    given = [key for key in _TEMPLATES if processor.get(key) is not None]
    if len(given) > 1:
        found.refuse(f"dataprocessor.{given[1]}", f"conflicts with {given[0]}; keep one")
    elif given:
        _read_template(found, given[0], processor[given[0]])


def _read_template(found: DataConfig, key: str, value: Any) -> None:
    if not isinstance(value, str):
        found.refuse(f"dataprocessor.{key}", "expected text", value)
    elif key == "chat_template_path":
        found.model["chat_template_path"] = os.path.expanduser(os.path.expandvars(value))
    else:
        try:
            text = value if key == "chat_template" else base64.b64decode(value, validate=True).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError) as error:
            found.refuse(f"dataprocessor.{key}", f"expected base64 of a template in UTF-8: {error}", value)
            return
        found.model["chat_template"] = _WHOLE_ROW.sub("messages", without_raw(text))


def _dataset(found: DataConfig, number: int, entry: Any) -> Any:
    """Rename the keys of one dataset to ours; what is wrong otherwise is found when it is read as a `Dataset`."""
    if not isinstance(entry, Mapping):
        return entry
    values = {key: value for key, value in entry.items() if value is not None}
    if "dataset_split_name" in values:
        values["dataset_split"] = values.pop("dataset_split_name")
    builder = values.pop("builder", None)
    if builder is not None and builder not in _BUILDERS:
        known = f"rows are read by the ending of the file; known builders: {', '.join(_BUILDERS)}"
        found.refuse(f"data.datasets[{number}].builder", known, builder)
    return values


def _undecided(ir: IR, section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if ir.get(f"{section}.{name}") is None}


def _raise(problems: Sequence[Problem], found: Sequence[Problem]) -> None:
    if found:
        raise ConfigError([*problems, *found])
