"""Follow every path of a document that the recommender would read, and keep those within the allowed folders."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tuning.config.ir import IR, leaves, merge_patch, nested
from tuning.errors import ConfigError, Problem, UserError
from tuning.recommender.allowed_roots import AllowedRoots, states
from tuning.recommender.bounded_walk import Walk

_FACT_SECTIONS = frozenset({"model", "data", "compute", "accelerate"})
_FACT_FIELDS = (
    *("training.use_cpu", "training.fsdp", "training.deepspeed", "training.eos_token", "training.pad_token"),
    *("training.output_dir", "recommender.history"),
)
"""What facts depend on: a probe is shown nothing else, so that facts may be kept while other values change."""
_NOWHERE = os.path.join(os.devnull, "unknown")
"""A path at which nothing can be: a probe finds no model and no tokenizer there, and looks nowhere else."""
_MOST_DEVICES = 65_536
_NOT_LOOKED_UP = (
    "is no folder or file here; names on the Hub are not looked up by this server, so nothing is known of it"
)


@dataclass
class Reading:
    """What may be read for a document: the part of it that facts depend on, with every path as it really leads."""

    ir: IR
    files: list[Path] = field(default_factory=list)
    models: list[Path] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    walk: Walk = field(default_factory=Walk)

    def key(self) -> tuple[Any, ...]:
        """Return what facts stand and fall with: the document, and each file as it is now."""
        return (json.dumps(self.ir.values, sort_keys=True), *states(self.files))


def followed(ir: IR, roots: AllowedRoots) -> Reading:
    """Resolve the paths of a checked document.

    Raises:
        ConfigError: names every path that leads outside or cannot be read, and what this server never does.
    """
    reading = Reading(_only_what_facts_need(ir))
    reading.problems += _never_here(ir)
    for path in ("model.model_name_or_path", "model.tokenizer_name_or_path"):
        _try(reading, ir, path, partial(_follow_model, reading, roots, path))
    _try(reading, ir, "model.chat_template_path", partial(_follow_file, reading, roots))
    for path in ("data.training_data_path", "data.validation_data_path"):
        _try(reading, ir, path, partial(_follow_data, reading, roots, path))
    _try(reading, ir, "data.datasets", partial(_follow_datasets, reading, roots))
    _try(reading, ir, "recommender.history", partial(_follow_history, reading, roots))
    if reading.problems:
        raise ConfigError(reading.problems)
    reading.ir = _with(reading.ir, "model.cache_dir", None)
    return reading


def _only_what_facts_need(ir: IR) -> IR:
    values = {name: section for name, section in ir.values.items() if name in _FACT_SECTIONS}
    for path in _FACT_FIELDS:
        if ir.get(path) is not None:
            values = merge_patch(values, nested(path, ir.get(path)))
    return IR(values, {path: ir.sources.get(path, "request") for path, _ in leaves(values)})


def _never_here(ir: IR) -> Iterator[Problem]:
    if ir.get("data.data_config_path") is not None:
        hint = "Give its datasets as data.datasets."
        yield Problem("data.data_config_path", "this server reads no files of configuration", hint=hint)
    if ir.get("recommender.rules_dir") is not None:
        yield Problem("recommender.rules_dir", "rules of your own run as code, and this server runs none")
    for name in ("num_nodes", "num_gpus_per_node", "num_processes"):
        if (ir.get(f"compute.{name}") or 0) > _MOST_DEVICES:
            yield Problem(f"compute.{name}", f"expected at most {_MOST_DEVICES:,}")


def _try(reading: Reading, ir: IR, path: str, follow: Callable[[Any], Any]) -> None:
    """Put what a path leads to in its place."""
    value = ir.get(path)
    if value is None:
        return
    try:
        found = follow(value)
    except UserError as error:
        reading.problems.append(Problem(path, str(error), value, ir.sources.get(path, "request")))
        return
    reading.ir = _with(reading.ir, path, found)


def _follow_model(reading: Reading, roots: AllowedRoots, path: str, name: str) -> str:
    folder = roots.model_folder(name)
    if folder is None:
        reading.notices.append(f"{path}: {name} {_NOT_LOOKED_UP}")
        return _NOWHERE
    if folder not in reading.models:
        reading.files += roots.files_of_model(folder, reading.walk)
        reading.models.append(folder)
    return str(folder)


def _follow_file(reading: Reading, roots: AllowedRoots, name: str) -> str:
    file = roots.regular(Path(name))
    reading.files.append(file)
    return str(file)


def _follow_data(reading: Reading, roots: AllowedRoots, path: str, names: list[str]) -> list[str] | None:
    found = {name: roots.data_files(name, reading.walk) for name in dict.fromkeys(names)}
    if any(files is None for files in found.values()):
        reading.notices.append(f"{path}: {', '.join(found)} {_NOT_LOOKED_UP}")
        return None
    for name, times in Counter(names).items():
        reading.walk.count_files((times - 1) * len(found[name] or ()))
    files = [file for name in names for file in found[name] or ()]
    if not files:
        raise UserError("there is no data file")
    reading.files += dict.fromkeys(files)
    return [str(file) for file in files]


def _follow_datasets(
    reading: Reading, roots: AllowedRoots, datasets: list[dict[str, Any]]
) -> list[dict[str, Any]] | None:
    """Follow the paths of each dataset; nothing is known of the mixture where one of them is not here."""
    found = []
    for number, dataset in enumerate(datasets):
        paths = _follow_data(reading, roots, f"data.datasets[{number}].data_paths", dataset["data_paths"])
        if paths is None:
            return None
        found.append({**dataset, "data_paths": paths})
    return found


def _follow_history(reading: Reading, roots: AllowedRoots, names: list[str]) -> list[str]:
    folders: dict[Path, None] = {}
    for name in dict.fromkeys(names):
        reading.walk.count_entry()
        folders[roots.resolve(name)] = None
    for folder in folders:
        reading.files += roots.files_below(folder, reading.walk)
    return [str(folder) for folder in folders]


def _with(ir: IR, path: str, value: Any) -> IR:
    source = ir.sources.get(path, "request")
    return ir.merge(nested(path, value), source) if value is not None or ir.get(path) is not None else ir


def check_weights(reading: Reading, roots: AllowedRoots) -> None:
    """Look into the models' indexes of weights, which name files; once for each state of the files is enough.

    Raises:
        ConfigError: one names a file elsewhere.
    """
    for folder in reading.models:
        try:
            roots.check_weights_index(folder)
        except UserError as error:
            raise ConfigError([Problem("model.model_name_or_path", str(error))]) from error
