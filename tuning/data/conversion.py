"""Turn the rows of one dataset into what is trained on, one at a time: columns, handlers, then the format."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from tuning.config.sections import Dataset
from tuning.data.formats import Convert, MissingSeparator, RowSettings, converter, recognise
from tuning.data.handlers import Step, apply_steps, build_steps, tokenizing_settings
from tuning.data.sources import Row, Skipped, read_rows
from tuning.errors import DataError

_FIRST_ROWS = 100
"""Rows among which one is looked for that has the columns of a format."""


@dataclass(frozen=True)
class Converted:
    """The rows of a dataset as they are read: the name of their format, and the rows, each converted or skipped."""

    format: str
    rows: Iterator[Row | Skipped]


class FirstRows(NamedTuple):
    """The rows that were read to find the one that decides about the format."""

    read: list[Row | Skipped]
    deciding: Row | None
    """The first that a format fits, else the first of all; None: there is none."""


def converted(dataset: Dataset, read: Iterable[Row | Skipped] | None = None) -> Converted:
    """Convert the rows of a dataset, or those that were read of it already; the first that a format fits decides.

    Raises:
        DataError: there are no rows, or no format fits them; names the dataset's paths, or the first row.
        UserError: a handler is not known.
    """
    paths = ", ".join(dataset.data_paths)
    found = read_rows(dataset.data_paths, dataset.dataset_split) if read is None else iter(read)
    prepared = _through_steps(found, build_steps(dataset))
    read_first, first = first_rows(prepared, dataset)
    if first is None:
        if not read_first:
            after = " after its data_handlers" if dataset.data_handlers else ""
            raise DataError(f"{paths}: there are no rows{after}")
        return Converted("", iter(read_first))
    columns = list(first.values)
    try:
        convert = converter(dataset, columns)
        name = recognise(columns, dataset)
    except DataError as error:
        raise DataError(f"{first.place}: {error}") from error
    items = itertools.chain(read_first, prepared)
    return Converted(name, _through(convert, tokenizing_settings(dataset), items))


def first_rows(items: Iterator[Row | Skipped], settings: RowSettings) -> FirstRows:
    """Read up to the first row that a format fits, so that a row without its columns costs that row alone."""
    read: list[Row | Skipped] = []
    rows: list[Row] = []
    for item in items:
        read.append(item)
        if isinstance(item, Row):
            rows.append(item)
            if _fits(list(item.values), settings):
                return FirstRows(read, item)
            if len(rows) == _FIRST_ROWS:
                break
    return FirstRows(read, rows[0] if rows else None)


def _fits(columns: list[str], settings: RowSettings) -> bool:
    try:
        converter(settings, columns)
    except DataError:
        return False
    return True


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


def _through(convert: Convert, tokenizing: dict[str, Any], items: Iterable[Row | Skipped]) -> Iterator[Row | Skipped]:
    for item in items:
        if isinstance(item, Skipped):
            yield item
            continue
        try:
            values = convert(item.values)
        except DataError as error:
            yield Skipped(item.place, str(error), isinstance(error, MissingSeparator))
        else:
            yield Row(item.place, {**values, **tokenizing})
