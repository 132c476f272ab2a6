"""Hand tokenized rows to TRL as datasets: without rows that teach nothing, and packed on request."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tuning.causal_lm import IGNORED_LABEL
from tuning.data.packing import packed
from tuning.data.prepared import Prepared
from tuning.data.rows import check_answered
from tuning.data.streamed import TokenStream, streamed_dataset
from tuning.data.token_table import TokenTable
from tuning.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset
    from trl.trainer.sft_config import SFTConfig

logger = logging.getLogger(__name__)

_COLUMNS = ["input_ids", "labels"]


class Splits(NamedTuple):
    """The datasets of a run, as TRL's trainer takes them."""

    train: Dataset | IterableDataset
    validation: Dataset | IterableDataset | None


def is_supervised(tokens: TokenTable) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Tell of each sequence whether any token of it is trained on."""
    found = [np.zeros(0, np.bool_)]
    for labels in tokens.table["labels"].chunks:
        lengths = labels.value_lengths().to_numpy(zero_copy_only=False)
        counted = np.concatenate([[0], np.cumsum(labels.flatten().to_numpy() != IGNORED_LABEL)])
        ends = np.cumsum(lengths)
        found.append(counted[ends] > counted[ends - lengths])
    return np.concatenate(found)


def check_rows_left(prepared: Prepared, max_length: int | None) -> None:
    """Say how many rows are longer than their handlers allow, and how many sequences have nothing to train on.

    Raises:
        DataError: none is left.
    """
    for name, tokens in prepared.tables.items():
        _check_long_rows(name, prepared)
        taught = is_supervised(tokens)
        check_answered(name, int(taught.sum()), len(taught), max_length)


def _check_long_rows(split: str, prepared: Prepared) -> None:
    """Count the rows without any sequence that were not skipped: only `skip_samples_with_large_columns` makes them."""
    places = prepared.tables[split].places
    present = np.unique(prepared.tables[split].table["row"].to_numpy())
    if len(present) == len(places):
        return
    skipped = {item.place for item in prepared.skipped}
    absent = np.setdiff1d(np.arange(len(places)), present).tolist()
    gone = sum(str(places[number]) not in skipped for number in absent)
    told = f"{split}: {gone} of {len(places)} rows have more tokens than skip_samples_with_large_columns allows"
    if not len(present):
        raise DataError(f"{told}, and none is left")
    if gone:
        logger.info("%s; they are left out", told)


def load_datasets(
    prepared: Prepared,
    args: SFTConfig,
    max_length: int | None,
    stream: TokenStream | None = None,
    names: Sequence[str] | None = None,
) -> Splits:
    """Map the sequences that teach something into memory, or stream those to train on; then pack and shuffle.

    `names` of the datasets of all tokenized sequences to train on become a column `dataset`.
    """
    eval_packing = args.packing if args.eval_packing is None else args.eval_packing
    tokens = _mapped(prepared, "train", names) if stream is None else streamed_dataset(stream)
    train = _arranged(tokens, args, max_length if args.packing else None)
    if "validation" not in prepared.tables:
        return Splits(train, None)
    held_out = _arranged(_mapped(prepared, "validation"), args, max_length if eval_packing else None)
    return Splits(train, held_out)


def _arranged(dataset: Any, args: SFTConfig, packed_length: int | None) -> Any:
    if packed_length is not None:
        dataset = dataset.shuffle(seed=args.seed) if args.shuffle_dataset else dataset
        dataset = packed(dataset, packed_length, args.packing_strategy)
    dataset = dataset.shuffle(seed=args.seed) if args.shuffle_dataset else dataset
    groups = args.train_sampling_strategy == "group_by_length"
    return _with_lengths(dataset) if groups else dataset


def _mapped(prepared: Prepared, split: str, names: Sequence[str] | None = None) -> Dataset:
    from datasets import Dataset, concatenate_datasets

    shards = [Dataset.from_file(str(file)) for file in prepared.files[split]]
    dataset = concatenate_datasets([shard.select_columns(_COLUMNS) for shard in shards])
    if names is not None:
        dataset = dataset.add_column("dataset", list(names))
    taught = is_supervised(prepared.tables[split])
    return dataset if taught.all() else dataset.select(np.flatnonzero(taught))


def _with_lengths(dataset: Any) -> Any:
    """Add what the sampler would read every row for."""
    if not hasattr(dataset, "__len__"):
        return dataset
    batches = dataset.iter(1000)
    return dataset.add_column("length", [len(ids) for batch in batches for ids in batch["input_ids"]])
