"""Read and convert all rows of a run before anything dear is imported, so that a bad row costs no waiting."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tuning.config.sections import Data
from tuning.data.formats import converter, recognise
from tuning.data.sources import read_rows
from tuning.errors import DataError

_MOST_ROWS_NAMED = 5
DEFAULT_SPLIT = "train"


@dataclass(frozen=True)
class Rows:
    """Rows in one of TRL's shapes (prompt and completion, messages, or text), and how they were recognised."""

    format: str
    train: list[dict[str, Any]]
    validation: list[dict[str, Any]]


def load_rows(data: Data, seed: int) -> Rows:
    """Read the training rows and the held-out ones, given or split off by `validation_fraction` with this seed.

    Raises:
        DataError: no rows, or rows that cannot be trained on; names the first of them.
    """
    name, train = _convert(data.training_data_path or [], data)
    if data.validation_data_path:
        return Rows(name, train, _convert(data.validation_data_path, data)[1])
    held_out = math.ceil(len(train) * (data.validation_fraction or 0))
    if held_out >= len(train):
        raise DataError(f"validation_fraction {data.validation_fraction} leaves none of {len(train)} rows to train on")
    chosen = set(random.Random(seed).sample(range(len(train)), held_out))
    kept = [row for index, row in enumerate(train) if index not in chosen]
    return Rows(name, kept, [train[index] for index in sorted(chosen)])


def _convert(paths: Sequence[str], data: Data) -> tuple[str, list[dict[str, Any]]]:
    rows = read_rows(paths, data.dataset_split or DEFAULT_SPLIT)
    first = next(rows, None)
    if first is None:
        raise DataError(f"{', '.join(paths)}: there are no rows")
    try:
        convert = converter(data, list(first.values))
    except DataError as error:
        raise DataError(f"{', '.join(paths)}: {error}") from error
    converted: list[dict[str, Any]] = []
    unusable: list[str] = []
    for place, values in itertools.chain([first], rows):
        try:
            converted.append(convert(values))
        except DataError as error:
            unusable.append(f"{place}: {error}")
    if unusable:
        raise DataError(_tell(unusable, len(converted)))
    return recognise(list(first.values), data), converted


def _tell(unusable: list[str], usable: int) -> str:
    more = len(unusable) - _MOST_ROWS_NAMED
    lines = [*unusable[:_MOST_ROWS_NAMED], *([f"… and {more} more"] if more > 0 else [])]
    return f"{len(unusable)} of {len(unusable) + usable} rows cannot be trained on:\n" + "\n".join(lines)
