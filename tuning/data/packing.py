"""Put several rows into one sequence, and make sure that none of them sees another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tuning.errors import UserError

if TYPE_CHECKING:
    import pyarrow
    from datasets import Dataset
    from transformers import PreTrainedModel

_WRAPPED = "wrapped"
_SPLITS_ROWS = frozenset({"bfd_split", _WRAPPED})
_LARGEST_DIFFERENCE = {"float32": 1e-4, "float64": 1e-6}
"""Of the largest logit: above it, a row has seen another. Half precision rounds to 2**-8."""
_LARGEST_IN_HALF_PRECISION = 2e-2


def splits_rows(strategy: str) -> bool:
    """Tell whether a strategy goes on with a long row in another sequence, instead of cutting it off."""
    return strategy in _SPLITS_ROWS


def packed(dataset: Dataset, max_length: int, strategy: str) -> Dataset:
    """Pack rows into sequences of at most `max_length` tokens; `seq_lengths` are the lengths of the rows in each.

    Raises:
        UserError: TRL has no such strategy.
    """
    from trl.data_utils import pack_dataset

    if strategy != _WRAPPED:
        try:
            return pack_dataset(dataset, max_length, strategy)
        except ValueError as error:
            raise UserError(f"training.packing_strategy: {error}") from error
    # TRL's own wrapping forgets where rows end, so that their parts would see each other.
    batches = dataset.with_format("arrow").map(_wrapped, batched=True, fn_kwargs={"seq_length": max_length})
    return batches.with_format(None)


def check_rows_apart(model: PreTrainedModel) -> None:
    """Show the model two rows in one sequence, and see whether the second takes notice of the first.

    Raises:
        UserError: it does, so that packing would train on something else than the rows.
    """
    import torch

    first, second = torch.tensor([1, 2, 3, 4]), torch.tensor([5, 6, 7, 8])
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            seen = [_logits_of_second(model, one, second) for one in (first, torch.full_like(first, 4))]
    except (ValueError, TypeError) as error:  # a model that says so itself, or knows nothing of packed rows
        raise UserError(f"training.packing: this model cannot read several rows as one: {error}") from error
    finally:
        model.train(was_training)
    difference = float((seen[0] - seen[1]).abs().max() / seen[0].abs().max().clamp_min(1e-9))
    limit = _LARGEST_DIFFERENCE.get(str(model.dtype).rpartition(".")[2], _LARGEST_IN_HALF_PRECISION)
    if difference > limit:
        kind, kernel = model.config.model_type, getattr(model.config, "_attn_implementation", None)
        raise UserError(
            f"training.packing: rows of one sequence would see each other in this model ({kind}, attention {kernel}). "
            "Set packing=false and padding_free=false, or another attn_implementation."
        )


def _logits_of_second(model: PreTrainedModel, first: Any, second: Any) -> Any:
    """Run two rows as TRL's collator lays them out; returns the logits of the second, (tokens, vocabulary)."""
    import torch

    lengths = torch.tensor([0, len(first), len(first) + len(second)], dtype=torch.int32)
    batch = {
        "input_ids": torch.cat([first, second])[None],
        "position_ids": torch.cat([torch.arange(len(first)), torch.arange(len(second))])[None],
        "cu_seq_lens_q": lengths,
        "cu_seq_lens_k": lengths,
        "seq_idx": torch.tensor([[0] * len(first) + [1] * len(second)], dtype=torch.int32),
    }
    on_device = {name: tensor.to(model.device) for name, tensor in batch.items()}
    longest = max(len(first), len(second))
    outputs = model(**on_device, max_length_q=longest, max_length_k=longest, use_cache=False)
    return outputs.logits[0, len(first) :].float()


def _wrapped(rows: pyarrow.Table, seq_length: int) -> pyarrow.Table:
    """Lay rows end to end and cut every `seq_length` tokens, noting where rows end."""
    import pyarrow

    columns = {name: rows[name].combine_chunks() for name in ("input_ids", "labels")}
    lengths = columns["input_ids"].value_lengths().to_numpy()
    total = int(lengths.sum())
    cuts = np.append(np.arange(0, total, seq_length), total)
    ends = np.unique(np.concatenate([cuts, np.cumsum(lengths)]))
    parts = np.diff(ends)
    firsts = np.searchsorted(ends, cuts)
    lists = {name: _lists(cuts, column.flatten()) for name, column in columns.items()}
    return pyarrow.table({**lists, "seq_lengths": _lists(firsts, pyarrow.array(parts.astype(np.int32)))})


def _lists(offsets: Any, values: Any) -> Any:
    import pyarrow

    return pyarrow.ListArray.from_arrays(pyarrow.array(offsets.astype(np.int32)), values)
