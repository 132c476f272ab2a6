"""The held-out rows alone, for a model that is measured and not trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuning.config.sections import Data
from tuning.data.data_config import resolved
from tuning.data.encoding import Encoding
from tuning.data.rows import check_answered, check_skipped, load_part, load_rows
from tuning.data.run_datasets import validation_dataset
from tuning.data.sources import Row, Skipped
from tuning.data.tokenization import num_supervised
from tuning.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

PARTED = ("validation_fraction", "datasets", "data_config_path")
"""Fields of the data section by which rows are held out of those that are trained on."""
NUM_ROWS, NUM_LEFT_OUT = "eval_num_rows", "eval_num_rows_left_out"


@dataclass(frozen=True)
class HeldOut:
    """Converted rows to measure on, how many rows were read for them, and the share of them that may be skipped."""

    rows: Sequence[Row]
    num_read: int
    max_skipped_share: float


def load_held_out(data: Data, seed: int) -> HeldOut:
    """Read the held-out rows; those that are trained on only where the others are a part of them.

    Raises:
        DataError: there are none, or too many cannot be used.
    """
    data = resolved(data)
    dataset = None if any(getattr(data, name) for name in PARTED) else validation_dataset(data)
    if dataset is None:
        rows = load_rows(data, seed).validation
        num_read = len(rows)
    else:
        part = load_part(dataset, seed)
        check_skipped(part.skipped, part.num_read, data.max_skipped_share)
        rows, num_read = part.validation, part.num_read
    if not rows:
        raise DataError("data.validation_data_path: there are no rows to measure on")
    return HeldOut(rows, num_read, data.max_skipped_share)


def held_out_tokens(held_out: HeldOut, encoding: Encoding) -> tuple[Dataset, dict[str, int]]:
    """Make tokens of the rows; returns them, and by their names how many rows are measured and how many are not.

    Raises:
        DataError: no row has an answer, or too many cannot be tokenized.
    """
    from datasets import Dataset

    rows, refused = held_out.rows, list[Skipped]()

    def refuse(number: int, error: DataError) -> None:
        refused.append(Skipped(rows[number].place, str(error)))

    tokens = list(encoding.token_rows([row.values for row in rows], refuse))
    check_skipped(refused, len(rows), held_out.max_skipped_share)
    if not tokens:
        raise DataError("validation: all rows have more tokens than skip_samples_with_large_columns allows")
    kept = [found for found in tokens if num_supervised(found.labels)]
    check_answered("validation", len(kept), len(tokens), encoding.max_length)
    num_measured = len({found.row for found in kept})
    counts = {NUM_ROWS: num_measured, NUM_LEFT_OUT: held_out.num_read - num_measured}
    return Dataset.from_list([{"input_ids": one.input_ids, "labels": one.labels} for one in kept]), counts
