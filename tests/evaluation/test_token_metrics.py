from __future__ import annotations

import math

import pytest

from tuning.evaluation.token_metrics import TokenMetrics


def test_scores_are_those_of_all_tokens_however_they_were_batched() -> None:
    import torch

    generator = torch.Generator().manual_seed(0)
    losses = torch.rand(50, generator=generator)
    labels, predictions = (torch.randint(0, 9, (50,), generator=generator) for _ in range(2))
    whole, parts = TokenMetrics(9), TokenMetrics(9)
    whole.add(losses, labels, predictions)
    for start in range(0, 50, 7):
        batch = slice(start, start + 7)
        parts.add(losses[batch], labels[batch], predictions[batch])
    assert parts.compute() == pytest.approx(whole.compute(), abs=1e-12)


def test_without_tokens_every_score_is_nan() -> None:
    assert all(math.isnan(value) for value in TokenMetrics(9).compute().values())
    assert "token_f1_macro" not in TokenMetrics().compute()


def test_where_the_loss_is_not_a_number_neither_is_the_accuracy() -> None:
    import torch

    metrics = TokenMetrics(9)
    metrics.add(torch.tensor([1.0, math.nan]), torch.tensor([3, 0]), torch.tensor([3, 0]))
    assert all(math.isnan(value) for value in metrics.compute().values())
