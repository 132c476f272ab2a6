"""The datasets of a run as one list, each with all its settings, and what must hold between them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tuning.config.schema import TuningConfig
from tuning.config.sections import Data, Dataset, Shares
from tuning.data.handlers import check_handler, implied_settings
from tuning.data.row_handlers import repeated_names
from tuning.data.tasks import TASKS, training_paths
from tuning.errors import ConfigError, Problem, UserError

_SHAPE = (
    *("task_type", "data_format", "dataset_text_field", "dataset_conversation_field"),
    *("data_formatter_template", "label_separator"),
)
"""Fields that say what the rows look like; a dataset that sets one of them sets them all."""


def datasets_of(data: Data) -> list[Dataset]:
    """List the datasets that are trained on, or held out, with every setting that the run or a handler decides.

    Rows that `training_data_path` names, or a task brings with it, are one dataset.

    Raises:
        DataError: there are no rows.
        UserError: a handler is not known.
    """
    if not data.datasets:
        return [_completed(Dataset.model_construct(name="training", data_paths=training_paths(data)), data, 0)]
    return [_completed(dataset, data, number) for number, dataset in enumerate(data.datasets)]


def validation_dataset(data: Data) -> Dataset | None:
    """Return the dataset of the held-out rows that have files of their own."""
    if not data.validation_data_path:
        return None
    split = Shares(train=0, validation=1)
    dataset = Dataset.model_construct(name="validation", data_paths=data.validation_data_path, split=split)
    return _completed(dataset, data, 0)


def shares_of(datasets: Sequence[Dataset]) -> list[float] | None:
    """Return the share of each dataset in the mixture; None where they follow one another."""
    if all(dataset.sampling is None for dataset in datasets):
        return None
    return [dataset.sampling or 0.0 for dataset in datasets]


def is_trained_on(dataset: Dataset) -> bool:
    """Tell whether any of the rows are trained on."""
    return dataset.split is None or dataset.split.train > 0


def unusable_datasets(config: TuningConfig) -> Iterator[Problem]:
    """Name what is wrong with the datasets of a run: names, shares, columns, handlers."""
    datasets = config.data.datasets or []
    for number, dataset in enumerate(datasets):
        path = f"data.datasets[{number}]"
        yield from _wrong_split(dataset, path, config.data.streaming)
        yield from _wrong_columns(dataset, path)
        yield from _wrong_handlers(dataset, path)
    names = Counter(dataset.name for dataset in datasets if dataset.name is not None)
    for name, times in names.items():
        if times > 1:
            yield Problem("data.datasets", f"{times} datasets are called {name!r}; give each a name of its own")
    if datasets and not any(map(is_trained_on, datasets)):
        yield Problem("data.datasets", "no dataset is trained on", hint="Give one of them a share train above 0.")
    yield from _wrong_shares(datasets)


def _completed(dataset: Dataset, data: Data, number: int) -> Dataset:
    changes: dict[str, Any] = {"name": dataset.name or f"dataset_{number + 1}"}
    own = {name: value for name in _SHAPE if (value := getattr(dataset, name)) is not None}
    said = own or implied_settings(dataset)
    if not own:
        inherited = ("label_separator",) if "dataset_text_field" in said else () if said else _SHAPE
        changes |= {name: getattr(data, name) for name in inherited} | said
    if dataset.response_template is None and dataset.label_separator is None and _may_be_text(said):
        changes["response_template"] = data.response_template
    if dataset.dataset_split is None:
        changes["dataset_split"] = data.dataset_split
    if dataset.split is None and data.validation_fraction and not data.streaming:
        fraction = data.validation_fraction
        changes["split"] = Shares(train=1 - fraction, validation=fraction)
    return dataset.model_copy(update=changes)


def _may_be_text(said: Mapping[str, str]) -> bool:
    """Tell whether rows may be text, of which the run's response_template says something, by what is said of them."""
    formats = TASKS.load(said["task_type"]).formats if "task_type" in said else (said.get("data_format", "text"),)
    return "text" in formats and "dataset_conversation_field" not in said


def _wrong_split(dataset: Dataset, path: str, streaming: bool) -> Iterator[Problem]:
    split = dataset.split
    if split is None:
        return
    if split.train + split.validation > 1 + 1e-9:
        told = f"its shares add up to {split.train + split.validation:g}; expected at most 1"
        yield Problem(f"{path}.split", told, split.model_dump())
    elif split.train + split.validation == 0:
        yield Problem(f"{path}.split", "neither share is above 0, so no row is used", split.model_dump())
    elif streaming and 0 < split.train < 1:
        hint = "Hold out the rows of a dataset of its own: split {validation: 1}."
        yield Problem(f"{path}.split", "rows that are streamed cannot be parted", split.model_dump(), hint=hint)


def _wrong_columns(dataset: Dataset, path: str) -> Iterator[Problem]:
    renamed = dataset.rename_columns or {}
    if repeated := repeated_names(renamed):
        told = f"several columns would be called {', '.join(repeated)}"
        yield Problem(f"{path}.rename_columns", told, renamed, hint="Give each a name of its own.")
    gone = [name for name in dataset.retain_columns or () if name in renamed and name not in renamed.values()]
    if gone:
        told = f"{', '.join(gone)} has a new name by then; columns are renamed first"
        yield Problem(f"{path}.retain_columns", told, dataset.retain_columns)


def _wrong_handlers(dataset: Dataset, path: str) -> Iterator[Problem]:
    for number, handler in enumerate(dataset.data_handlers or ()):
        where = f"{path}.data_handlers[{number}]"
        try:
            check_handler(handler)
        except ConfigError as error:
            yield from (replace(each, path=f"{where}.arguments.{each.path}", source=None) for each in error.problems)
        except UserError as error:
            told, _, hint = str(error).partition(". ")
            if told.startswith("unknown"):
                yield Problem(f"{where}.name", told, handler.name, hint=hint)
            else:
                yield Problem(f"{where}.arguments", f"{handler.name}: {error}", handler.arguments or {})


def _wrong_shares(datasets: Sequence[Dataset]) -> Iterator[Problem]:
    trained = [(number, dataset) for number, dataset in enumerate(datasets) if is_trained_on(dataset)]
    given = [dataset.sampling for _, dataset in trained if dataset.sampling is not None]
    if not given:
        return
    missing = [number for number, dataset in trained if dataset.sampling is None]
    for number in missing:
        yield Problem(f"data.datasets[{number}].sampling", "is required, as other datasets have a share")
    if not missing and not math.isclose(sum(given), 1, abs_tol=1e-6):
        hint = "They must add up to 1."
        yield Problem("data.datasets", f"the shares sampling add up to {sum(given):g}", given, hint=hint)
