"""What the rows are like: how many, in which format, how long; from one streaming pass and a sample."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from tuning.config.ir import IR
from tuning.config.sections import Data, Dataset
from tuning.data.conversion import converted, first_rows
from tuning.data.formats import converter, recognise
from tuning.data.lengths import Lengths
from tuning.data.mixing import ALL_EXHAUSTED, mixed_length
from tuning.data.run_datasets import datasets_of, is_trained_on, shares_of
from tuning.data.sources import Row, Skipped, files_of, read_rows
from tuning.data.tasks import training_paths
from tuning.errors import DataError
from tuning.recommender.response_match import ResponseMatch, match_response, texts_of
from tuning.recommender.sampling import reservoir
from tuning.recommender.token_lengths import RowLength, load_tokenizer, token_lengths

MOST_SAMPLED_ROWS = 2_000
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class DataFacts:
    """The rows of a run. `row_lengths` holds the sampled rows in random order; empty where there is no tokenizer.

    `columns` are those of the first row that a format fits, and `example` is one of the sampled rows in one of TRL's
    shapes. `response` tells what parts a row of text into what is given and what is learned.
    """

    num_rows: int | None = None
    num_validation_rows: int | None = None
    format: str | None = None
    num_sampled_rows: int = 0
    num_unusable_sampled_rows: int = 0
    row_lengths: tuple[RowLength, ...] = ()
    columns: tuple[str, ...] = ()
    example: Mapping[str, Any] | None = field(default=None, hash=False)
    response: ResponseMatch | None = None

    @cached_property
    def tokens(self) -> Lengths | None:
        """Summarise the lengths of whole rows."""
        return Lengths.of(row.tokens for row in self.row_lengths)

    @cached_property
    def supervised_tokens(self) -> Lengths | None:
        """Summarise the lengths of the parts that the loss falls on."""
        return Lengths.of(row.supervised_tokens for row in self.row_lengths)


def probe_data(ir: IR) -> DataFacts | None:
    """Read the facts of the document's rows; None where they are not given or stand on the Hub.

    Raises:
        DataError: a file cannot be read, or no format fits its columns.
    """
    data = _data_section(ir)
    if data is not None and data.datasets:
        return _probe_datasets(ir, data)
    paths = training_paths(data) if data is not None and (data.training_data_path or data.task_type) else None
    if data is None or paths is None or files_of(paths) is None:
        return None
    sample, num_rows = reservoir(_rows(paths, data.dataset_split), MOST_SAMPLED_ROWS)
    first = _first_row(paths, data)
    if not num_rows or first is None or not first.values:
        return DataFacts(num_rows=num_rows)
    columns = list(first.values)
    name, usable = _recognised(first.place, sample, data, columns)
    tokenizer = load_tokenizer(ir)
    return DataFacts(
        num_rows=num_rows,
        num_validation_rows=_count_rows(data.validation_data_path, data),
        format=name,
        num_sampled_rows=len(sample),
        num_unusable_sampled_rows=len(sample) - len(usable),
        row_lengths=token_lengths(ir, usable, tokenizer) if tokenizer is not None else (),
        columns=tuple(columns),
        example=usable[0] if usable else None,
        response=match_response(texts_of(usable), data, tokenizer) if _may_hold_response(name, data) else None,
    )


class _Sampled(NamedTuple):
    """One of several datasets: its rows counted, and some of them as they were and converted."""

    dataset: Dataset
    num_rows: int
    num_sampled: int
    format: str
    usable: list[dict[str, Any]]


def _probe_datasets(ir: IR, data: Data) -> DataFacts | None:
    """Read the facts of a mixture; its rows are those of one epoch, in which a row may come up more than once."""
    datasets = datasets_of(data.model_copy(update={"validation_fraction": None}))
    if any(files_of(dataset.data_paths) is None for dataset in datasets):
        return None
    found = [_sampled(dataset, data) for dataset in datasets]
    trained = [each for each in found if is_trained_on(each.dataset)]
    parts = [round(each.num_rows * (each.dataset.split.train if each.dataset.split else 1)) for each in trained]
    shares = shares_of([each.dataset for each in trained])
    num_rows = mixed_length(parts, shares, data.sampling_stopping_strategy or ALL_EXHAUSTED) if shares else sum(parts)
    wanted = shares or [part / max(1, sum(parts)) for part in parts]
    usable = [
        row
        for each, share in zip(trained, wanted, strict=True)
        for row in each.usable[: round(MOST_SAMPLED_ROWS * share)]
    ]
    held_out = sum(math.ceil(each.num_rows * each.dataset.split.validation) for each in found if each.dataset.split)
    held_out += _count_rows(data.validation_data_path, data) or 0
    tokenizer = load_tokenizer(ir)
    return DataFacts(
        num_rows=num_rows,
        num_validation_rows=held_out or None,
        format=", ".join(dict.fromkeys(each.format for each in trained)),
        num_sampled_rows=sum(each.num_sampled for each in trained),
        num_unusable_sampled_rows=sum(each.num_sampled - len(each.usable) for each in trained),
        row_lengths=token_lengths(ir, usable, tokenizer) if tokenizer is not None else (),
        example=usable[0] if usable else None,
    )


def _sampled(dataset: Dataset, data: Data) -> _Sampled:
    sample, num_rows = reservoir(_rows(dataset.data_paths, dataset.dataset_split), MOST_SAMPLED_ROWS)
    rows = [Row(", ".join(dataset.data_paths), values) for row in sample if (values := _values(row)) is not None]
    found = converted(dataset, rows)
    usable = [item.values for item in found.rows if isinstance(item, Row)]
    return _Sampled(dataset, num_rows, len(sample), found.format, usable)


def _recognised(
    place: str, sample: Iterable[bytes | Mapping[str, Any]], data: Data, columns: list[str]
) -> tuple[str, list[dict[str, Any]]]:
    """Name the format of the rows, and convert them.

    Raises:
        DataError: no format fits; names the place of the row that says so.
    """
    try:
        return recognise(columns, data), list(_converted(sample, data, columns))
    except DataError as error:
        raise DataError(f"{place}: {error}") from error


def _may_hold_response(name: str, data: Data) -> bool:
    """Tell whether rows may be texts that an answer ends, and nothing says yet where it starts."""
    return name == "text" and not data.label_separator


def _data_section(ir: IR) -> Data | None:
    section = ir.values.get("data") or {}
    if not isinstance(section, Mapping):
        return None
    known = {key: value for key, value in section.items() if key in Data.model_fields}
    try:
        return Data.model_validate(known)
    except ValidationError:
        return None


def _count_rows(paths: Sequence[str] | None, data: Data) -> int | None:
    if not paths or files_of(paths) is None:
        return None
    return sum(1 for _ in _rows(paths, data.dataset_split))


def _rows(paths: Sequence[str], split: str | None) -> Iterator[bytes | Mapping[str, Any]]:
    """Stream the rows; those of JSON lines as they stand, because only the sampled ones are worth parsing."""
    for file in files_of(paths, split) or ():
        if file.suffix.lower() == ".jsonl" and not _is_nested(file):
            yield from _lines(file)
        else:
            yield from (row.values for row in read_rows([str(file)]) if isinstance(row, Row))


def _is_nested(file: Path) -> bool:
    """Tell whether a line of JSON holds several rows, by the place of the first."""
    first = next(read_rows([str(file)]), None)
    return first is not None and first.place != f"{file} row 1"


def _lines(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as stream:
            yield from (line for line in stream if not line.isspace() and line != _BYTE_ORDER_MARK)
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error}") from error


def _first_row(paths: Sequence[str], data: Data) -> Row | None:
    """Return the first row that a format fits, else the first; None where there are no rows at all.

    Raises:
        DataError: not one of the rows can be used.
    """
    read, row = first_rows(read_rows(paths, data.dataset_split), data)
    if row is None and read and isinstance(read[0], Skipped):
        raise DataError(f"{read[0].place}: {read[0].reason}")
    return row


def _converted(sample: Iterable[bytes | Mapping[str, Any]], data: Data, columns: list[str]) -> Iterator[dict[str, Any]]:
    """Convert the sampled rows; those that cannot be used are left out, because reading the data will name them."""
    convert = converter(data, columns)
    for row in sample:
        values = _values(row)
        if values is None:
            continue
        try:
            yield convert(values)
        except (DataError, ValueError, RecursionError):
            continue


def _values(row: bytes | Mapping[str, Any]) -> dict[str, Any] | None:
    try:
        values = json.loads(row.decode("utf-8-sig")) if isinstance(row, bytes) else row
    except (ValueError, RecursionError):
        return None
    return dict(values) if isinstance(values, Mapping) else None
