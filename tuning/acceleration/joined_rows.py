"""Batches of one long sequence: rows end to end, with positions that restart."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, TrainerCallback

from tuning.acceleration.divided_weights import as_the_first_process, is_divided
from tuning.causal_lm import IGNORED_LABEL

logger = logging.getLogger(__name__)

_JOINED = frozenset({"input_ids", "labels", "attention_mask"})
_LARGEST_DIFFERENCE = {torch.float32: 1e-4, torch.float64: 1e-6}
"""Of the largest logit: above it, a row has seen another."""
_LARGEST_IN_HALF_PRECISION = 2e-2
"""Half precision rounds to 2**-8."""

Collator = Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Any]]


@dataclass(frozen=True)
class JoiningCollator:
    """Join what another collator makes of each row alone; batches that hold more than tokens are left to that one."""

    collate_row: Collator

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return one sequence, (1, tokens), in which no row predicts the first token of the next."""
        rows = [self.collate_row([feature]) for feature in features]
        if not all({"input_ids", "labels"} <= set(row) <= _JOINED for row in rows):
            return self.collate_row(features)
        kept = [_without_padding(row) for row in rows]
        return {
            "input_ids": torch.cat([input_ids for input_ids, _ in kept])[None],
            "labels": torch.cat([labels for _, labels in kept])[None],
            "position_ids": torch.cat([torch.arange(len(input_ids)) for input_ids, _ in kept])[None],
            "use_cache": False,  # with a cache, transformers no longer asks where positions restart
        }


def _without_padding(row: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    input_ids, labels = row["input_ids"][0], row["labels"][0]
    if (mask := row.get("attention_mask")) is not None:
        input_ids, labels = input_ids[mask[0].bool()], labels[mask[0].bool()]
    return input_ids, torch.cat([torch.full_like(labels[:1], IGNORED_LABEL), labels[1:]])


class JoinRowsCallback(TrainerCallback):
    """Puts the collator into the data loader that is trained from; evaluation keeps its padded batches."""

    def on_train_begin(self, *args: Any, train_dataloader: Any = None, **kwargs: Any) -> None:
        """Wrap the collator, once."""
        loader = _that_collates(train_dataloader)
        if not isinstance(loader.collate_fn, JoiningCollator):
            loader.collate_fn = JoiningCollator(loader.collate_fn)


def _that_collates(loader: Any) -> Any:
    """Return the data loader that makes the batches: accelerate's own ones only pass on what that one makes."""
    while (inner := getattr(loader, "base_dataloader", None)) is not None:
        loader = inner
    return loader


def keeps_rows_apart(model: PreTrainedModel) -> bool:
    """Show the model a row behind another, and by itself, and see whether that makes a difference."""
    if model.device.type == "meta":
        return True
    if is_divided(model):
        logger.warning("padding_free: DeepSpeed has divided the model already, so rows cannot be seen to stay apart")
        return False
    return as_the_first_process(_are_apart(model))


def _are_apart(model: PreTrainedModel) -> bool:
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            alone, *behind = (_logits_of_second(model, first) for first in ((), (1, 2, 3, 4), (4, 4, 4, 4)))
    except (ValueError, TypeError) as error:  # a model that says so itself, or knows nothing of positions
        logger.debug("rows of one sequence: %s", error)
        return False
    finally:
        model.train(was_training)
    difference = max(float((logits - alone).abs().max()) for logits in behind)
    return difference <= float(alone.abs().max()) * _LARGEST_DIFFERENCE.get(model.dtype, _LARGEST_IN_HALF_PRECISION)


def _logits_of_second(model: PreTrainedModel, first: tuple[int, ...]) -> Tensor:
    """Run a row behind the first, which may be empty; returns its logits, (4, vocab_size)."""
    ids = torch.tensor([[*first, 5, 6, 7, 8]])
    positions = torch.tensor([[*range(len(first)), *range(4)]])
    batch = {"input_ids": ids.to(model.device), "position_ids": positions.to(model.device)}
    return model(**batch, use_cache=False).logits[0, len(first) :].float()
