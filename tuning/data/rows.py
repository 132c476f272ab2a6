"""Read and convert all rows of a run before anything dear is imported, so that a bad row costs no waiting."""

from __future__ import annotations

import logging
import math
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from tuning.config.sections import Data, Dataset, Shares
from tuning.data.conversion import converted
from tuning.data.data_config import resolved
from tuning.data.mixing import ALL_EXHAUSTED, mixed
from tuning.data.run_datasets import datasets_of, is_trained_on, shares_of, validation_dataset
from tuning.data.sources import Row, Skipped
from tuning.errors import DataError

logger = logging.getLogger(__name__)

_MOST_ROWS_NAMED = 5


@dataclass(frozen=True)
class Rows:
    """Converted rows, how they were recognised, and what was left out.

    The values of a row have one of TRL's shapes: prompt and completion, messages, text, or tokens. `num_read` counts
    the rows that were read, the skipped ones among them. In a mixture a row may stand more than once.
    """

    format: str
    train: Sequence[Row]
    validation: Sequence[Row]
    skipped: Sequence[Skipped] = ()
    num_read: int = 0


@dataclass(frozen=True)
class Part:
    """What one dataset gives."""

    dataset: Dataset
    format: str
    train: Sequence[Row]
    validation: Sequence[Row]
    skipped: Sequence[Skipped]
    num_read: int
    """Rows that were read, but for those that handlers left out."""


def load_rows(data: Data, seed: int) -> Rows:
    """Read the rows of all datasets, part them, and mix those that are trained on; their order depends on the seed.

    Rows that cannot be used are left out and listed, as long as `max_skipped_share` allows it.

    Raises:
        DataError: no rows, or too many that cannot be trained on; names the first of them.
        ConfigError: the data config file cannot be used.
    """
    data = resolved(data)
    mixture_seed = seed if data.sampling_seed is None else data.sampling_seed
    split_seed = mixture_seed if data.datasets else seed
    parts = [load_part(dataset, split_seed) for dataset in datasets_of(data)]
    held_out = validation_dataset(data)
    others = [load_part(held_out, split_seed)] if held_out is not None else []
    skipped = [item for part in (*parts, *others) for item in part.skipped]
    num_read = sum(part.num_read for part in parts) + sum(part.num_read for part in others)
    check_skipped(skipped, num_read, data.max_skipped_share)
    trained = [part for part in parts if is_trained_on(part.dataset)]
    for part in trained:
        _require_rows(part, data)
    validation = [row for part in (*parts, *others) for row in part.validation]
    return Rows(
        format_of(part.format for part in trained), _mixed(trained, data, mixture_seed), validation, skipped, num_read
    )


def check_skipped(skipped: Sequence[Skipped], num_read: int, max_skipped_share: float) -> None:
    """Refuse a run in which more rows cannot be used than are allowed, or none can, or one must be mended.

    Raises:
        DataError: names the first of them.
    """
    if wrong := [item for item in skipped if item.must_be_mended]:
        raise DataError(_named(f"{len(wrong)} of {num_read} rows cannot be trained on:", wrong))
    if not skipped:
        return
    told = f"{len(skipped)} of {num_read} rows cannot be trained on"
    if len(skipped) == num_read:
        raise DataError(_named(f"{told}:", skipped))
    if len(skipped) > max_skipped_share * num_read:
        raise DataError(_named(f"{told}; max_skipped_share allows {max_skipped_share:.0%}:", skipped))
    logger.warning("%s and are left out; the first: %s: %s", told, skipped[0].place, skipped[0].reason)


def check_answered(split: str, num_answered: int, num_rows: int, max_length: int | None) -> None:
    """Say how many rows of a split have nothing to train or to measure on.

    Raises:
        DataError: none has an answer.
    """
    within = "" if max_length is None else f" within max_length={max_length}"
    told = f"{split}: {num_rows - num_answered} of {num_rows} rows have no response{within}"
    if not num_answered:
        raise DataError(told if max_length is None else f"{told}; raise it")
    if num_answered < num_rows:
        logger.warning("%s; they are left out", told)


def _named(told: str, items: Sequence[Skipped]) -> str:
    more = len(items) - _MOST_ROWS_NAMED
    lines = [f"{item.place}: {item.reason}" for item in items[:_MOST_ROWS_NAMED]]
    return "\n".join([told, *lines, *([f"… and {more} more"] if more > 0 else [])])


def format_of(formats: Iterable[str]) -> str:
    """Name the formats of several datasets as one text."""
    return ", ".join(dict.fromkeys(formats))


def part_rows(
    rows: Sequence[Row], split: Shares | None, seed: int, shuffle: bool = True
) -> tuple[list[Row], list[Row]]:
    """Part rows into those to train on and those to hold out, each in the order that they are in.

    Rows that no share asks for are left out. `shuffle` draws them at random; else the last are held out.
    """
    if split is None:
        return list(rows), []
    held_out = math.ceil(len(rows) * split.validation - 1e-9)
    rest = len(rows) - held_out
    trained = (
        rest if math.isclose(split.train + split.validation, 1) else min(rest, int(len(rows) * split.train + 1e-9))
    )
    order = list(range(len(rows)))
    if shuffle:
        chosen = random.Random(seed).sample(order, held_out)
        left = sorted(set(order).difference(chosen))
        kept = left if trained == rest else random.Random(seed + 1).sample(left, trained)
    else:
        chosen, kept = order[rest:], order[:trained]
    return [rows[index] for index in sorted(kept)], [rows[index] for index in sorted(chosen)]


def load_part(dataset: Dataset, seed: int) -> Part:
    """Read and convert the rows of one dataset, and part them."""
    found = converted(dataset)
    items = list(found.rows)
    usable = [item for item in items if isinstance(item, Row)]
    train, validation = part_rows(usable, dataset.split, seed, dataset.shuffle)
    skipped = [item for item in items if isinstance(item, Skipped)]
    return Part(dataset, found.format, train, validation, skipped, len(items))


def _require_rows(part: Part, data: Data) -> None:
    if part.train:
        return
    count = part.num_read - len(part.skipped)
    if data.validation_fraction and not data.datasets:
        raise DataError(f"validation_fraction {data.validation_fraction} leaves none of {count} rows to train on")
    raise DataError(f"dataset {part.dataset.name}: none of its {count} rows are left to train on")


def _mixed(parts: Sequence[Part], data: Data, seed: int) -> Sequence[Row]:
    """Mix the rows by weight, or put them one after the other where there are no weights."""
    shares = shares_of([part.dataset for part in parts])
    if shares is None:
        return [row for part in parts for row in part.train]
    sources = [partial(_numbered, number, part.train) for number, part in enumerate(parts)]
    drawn = list(mixed(sources, shares, seed, data.sampling_stopping_strategy or ALL_EXHAUSTED))
    counts = Counter(number for number, _ in drawn)
    told = (f"{part.dataset.name} {counts[number] / len(drawn):.1%}" for number, part in enumerate(parts))
    logger.info("mixture: %d rows: %s", len(drawn), ", ".join(told))
    return [row for _, row in drawn]


def _numbered(number: int, rows: Sequence[Row]) -> list[tuple[int, Row]]:
    return [(number, row) for row in rows]
