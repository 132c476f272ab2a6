"""Tell of which dataset each tokenized row is, by the file that it was read from."""

from __future__ import annotations

from collections.abc import Iterator

from tuning.config.sections import Data
from tuning.data.data_config import resolved
from tuning.data.prepared import Prepared
from tuning.data.run_datasets import datasets_of
from tuning.data.sources import files_of
from tuning.errors import UserError


def dataset_names(prepared: Prepared, data: Data) -> list[str]:
    """Name the dataset of each sequence that is trained on, in the order in which they were tokenized.

    Raises:
        UserError: two datasets read the same file, so that a row of it may be of either.
    """
    owners: dict[str, str] = {}
    for source, name in _sources(data):
        if owners.setdefault(source, name) != name:
            raise UserError(f"data.datasets: {source} is read by {owners[source]} and {name}; its rows must be of one")
    tokens = prepared.tables["train"]
    names = [owners[place[: place.rindex(" row ")]] for place in tokens.places]
    return [names[row] for row in tokens.table["row"].to_pylist()]


def _sources(data: Data) -> Iterator[tuple[str, str]]:
    """Yield every file, or Hub id, with the name of the dataset that reads it."""
    for dataset in datasets_of(resolved(data)):
        for path in dataset.data_paths:
            files = files_of([path], dataset.dataset_split)
            yield from ((str(source), str(dataset.name)) for source in ([path] if files is None else files))
