"""Turn the rows of one dataset into what is trained on, one at a time: columns, handlers, then the format."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tuning.config.sections import Dataset
from tuning.data.formats import Convert, MissingSeparator, converter, recognise
from tuning.data.handlers import Step, apply_steps, build_steps
from tuning.data.row_handlers import ADD_EOS_TOKEN, MAX_NUM_TOKENS
from tuning.data.sources import Row, Skipped, read_rows
from tuning.errors import DataError

_KEPT = (ADD_EOS_TOKEN, MAX_NUM_TOKENS)
"""Columns by which a handler speaks to the tokenizing, past the format."""


@dataclass(frozen=True)
class Converted:
    """The rows of a dataset as they are read: the name of their format, and the rows, each converted or skipped."""

    format: str
    rows: Iterator[Row | Skipped]


def converted(dataset: Dataset, read: Iterable[Row | Skipped] | None = None) -> Converted:
    """Convert the rows of a dataset, or those that were read of it already; the first row decides about the format.

    Raises:
        DataError: there are no rows, or no format fits them; names the dataset's paths.
        UserError: a handler is not known.
    """
    paths = ", ".join(dataset.data_paths)
    found = read_rows(dataset.data_paths, dataset.dataset_split or "train") if read is None else iter(read)
    prepared = _through_steps(found, build_steps(dataset))
    skipped, first = _up_to_first_row(prepared)
    if first is None:
        if not skipped:
            after = " after its data_handlers" if dataset.data_handlers else ""
            raise DataError(f"{paths}: there are no rows{after}")
        return Converted("", iter(skipped))
    columns = list(first.values)
    try:
        convert = converter(dataset, columns)
        name = recognise(columns, dataset)
    except DataError as error:
        raise DataError(f"{paths}: {error}") from error
    return Converted(name, _through(convert, itertools.chain(skipped, [first], prepared)))


def _up_to_first_row(items: Iterator[Row | Skipped]) -> tuple[list[Skipped], Row | None]:
    skipped: list[Skipped] = []
    for item in items:
        if isinstance(item, Row):
            return skipped, item
        skipped.append(item)
    return skipped, None


def _through_steps(items: Iterator[Row | Skipped], steps: list[Step]) -> Iterator[Row | Skipped]:
    for item in items:
        if isinstance(item, Skipped) or not steps:
            yield item
            continue
        try:
            values = apply_steps(steps, item.values)
        except DataError as error:
            yield Skipped(item.place, str(error))
        else:
            if values is not None:
                yield Row(item.place, values)


def _through(convert: Convert, items: Iterable[Row | Skipped]) -> Iterator[Row | Skipped]:
    for item in items:
        if isinstance(item, Skipped):
            yield item
            continue
        try:
            values = convert(item.values)
        except DataError as error:
            yield Skipped(item.place, str(error), isinstance(error, MissingSeparator))
        else:
            kept = {name: item.values[name] for name in _KEPT if name in item.values}
            yield Row(item.place, {**values, **kept})
