"""Batches whose rows are drawn from datasets by shares that change while a model trains, and what rewards them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import BatchSampler, SequentialSampler

from tuning.acceleration.mixture import Mixture
from tuning.causal_lm import IGNORED_LABEL


class MixedBatchSampler(BatchSampler):
    """Draw the dataset of each row by the shares of its step; rows of a dataset come in an order of their own.

    An epoch has as many batches as without a mixture; a dataset that is drawn to its end begins anew. All depends on
    the seed, the epoch and the shares of each step alone, so all ranks agree, and a resumed run draws what it drew.
    """

    def __init__(
        self,
        groups: Sequence[np.ndarray[Any, Any]],
        mixture: Mixture,
        num_batches: int,
        rows_per_batch: int,
        batches_per_step: int,
        rows_at_once: int,
        seed: int,
    ) -> None:
        """Mix groups of row numbers; `rows_at_once` are drawn from a dataset before the next one is chosen."""
        self.groups, self.mixture, self.num_batches = groups, mixture, num_batches
        self.rows_per_batch, self.batches_per_step = rows_per_batch, batches_per_step
        self.rows_at_once, self.seed, self.epoch = rows_at_once, seed, 0
        self.sampler: Any = SequentialSampler(range(sum(map(len, groups))))  # accelerate looks for one
        self.batch_size = None  # pyright: ignore[reportAttributeAccessIssue]
        self.drop_last = False

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[list[int]]:
        generator = np.random.default_rng((self.seed, self.epoch))
        readers = [_shuffled(group, generator) for group in self.groups]
        first_step = self.epoch * -(-self.num_batches // self.batches_per_step)
        chosen: list[int] = []
        for batch in range(self.num_batches):
            shares = self.mixture.at(first_step + batch // self.batches_per_step)
            rows: list[int] = []
            while len(rows) < self.rows_per_batch:
                chosen = chosen or [int(generator.choice(len(shares), p=shares))] * self.rows_at_once
                rows.append(next(readers[chosen.pop()]))
            yield rows


def _shuffled(rows: np.ndarray[Any, Any], generator: np.random.Generator) -> Iterator[int]:
    while True:
        yield from map(int, generator.permutation(rows))


def mean_loss_and_entropy(model: Any, rows: Sequence[Any]) -> tuple[float, float]:
    """Measure the loss and the entropy of the predictions over all supervised tokens of rows, both in nats a token.

    Rows go through the model one by one, so that nothing is padded; the model comes out in the mode it was in.
    """
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    sums = torch.zeros(3, dtype=torch.float64)
    try:
        with torch.no_grad():
            for row in rows:
                sums += _sums(model, row, device).cpu()
    finally:
        model.train(was_training)
    loss, entropy, tokens = sums.tolist()
    return (loss / tokens, entropy / tokens) if tokens else (0.0, 0.0)


def _sums(model: Any, row: Any, device: torch.device) -> torch.Tensor:
    ids = torch.tensor([row["input_ids"]], device=device)
    labels = torch.tensor(row.get("labels", row["input_ids"]), device=device)[1:]
    positions = torch.arange(ids.shape[1], device=device)[None]
    logits = model(input_ids=ids, position_ids=positions, use_cache=False).logits[0, :-1]
    log_probs = logits[labels != IGNORED_LABEL].float().log_softmax(-1)
    losses = -log_probs.gather(1, labels[labels != IGNORED_LABEL][:, None])
    entropies = -(log_probs.exp() * log_probs).sum(-1)
    return torch.stack([losses.sum(), entropies.sum(), torch.tensor(float(len(log_probs)), device=device)]).double()
