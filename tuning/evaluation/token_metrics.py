"""Scores over tokens, added up batch by batch; memory grows with the vocabulary, not with the rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_LARGEST_EXPONENT = 700.0
"""e to this is still a number of double precision."""


@dataclass
class TokenMetrics:
    """Running sums over the tokens that the loss falls on.

    `true`, `predicted` and `correct_by_token` count, for each id of the vocabulary, how often it was the label, the
    prediction, and both; shape `(vocabulary,)` int64. None: no F1 is wanted.
    """

    vocab_size: int | None = None
    loss: float = 0.0
    num_tokens: int = 0
    num_correct: int = 0
    true: Tensor | None = field(default=None, repr=False)
    predicted: Tensor | None = field(default=None, repr=False)
    correct_by_token: Tensor | None = field(default=None, repr=False)

    def add(self, losses: Tensor, labels: Tensor, predictions: Tensor) -> None:
        """Add tokens; all three of shape `(tokens,)`: losses in nats, ids of labels and of the most likely tokens."""
        correct = labels == predictions
        self.loss += losses.double().sum().item()
        self.num_tokens += labels.numel()
        self.num_correct += int(correct.sum())
        if self.vocab_size is not None:
            self.true = self._counted(self.true, labels)
            self.predicted = self._counted(self.predicted, predictions)
            self.correct_by_token = self._counted(self.correct_by_token, labels[correct])

    def summed(self, add_up: Callable[[Tensor], Tensor]) -> TokenMetrics:
        """Return the sums over all processes; `add_up` adds a tensor to those of the others and is called on each."""
        import torch

        sums = add_up(torch.tensor([self.num_tokens, self.num_correct]))
        loss = add_up(torch.tensor([self.loss], dtype=torch.float64))
        total = TokenMetrics(self.vocab_size, float(loss[0]), int(sums[0]), int(sums[1]))
        if self.vocab_size is not None:
            none = torch.zeros(self.vocab_size, dtype=torch.int64)
            counts = (self.true, self.predicted, self.correct_by_token)
            total.true, total.predicted, total.correct_by_token = (
                add_up(none if count is None else count).cpu() for count in counts
            )
        return total

    def compute(self) -> dict[str, float]:
        """Return loss, perplexity, token accuracy and, where wanted, micro and macro F1 over token ids.

        Macro F1 is the mean over the ids that are a label or a prediction anywhere, as in scikit-learn. Without tokens,
        and where the loss is not a number, every score is NaN: nothing is the most likely token then.
        """
        if not self.num_tokens or math.isnan(self.loss):
            names = ("loss", "perplexity", "token_accuracy", *(("token_f1_micro", "token_f1_macro") * self._has_f1))
            return dict.fromkeys(names, math.nan)
        loss, accuracy = self.loss / self.num_tokens, self.num_correct / self.num_tokens
        scores = {"loss": loss, "perplexity": math.exp(min(loss, _LARGEST_EXPONENT)), "token_accuracy": accuracy}
        # Each token has one label and one prediction, so precision, recall and micro F1 are the accuracy.
        return scores | ({"token_f1_micro": accuracy, "token_f1_macro": self._macro_f1()} if self._has_f1 else {})

    @property
    def _has_f1(self) -> bool:
        return self.vocab_size is not None

    def _counted(self, counts: Tensor | None, ids: Tensor) -> Tensor:
        found = ids.cpu().bincount(minlength=self.vocab_size or 0)
        return found if counts is None else counts + found

    def _macro_f1(self) -> float:
        assert self.true is not None and self.predicted is not None and self.correct_by_token is not None
        seen = self.true + self.predicted
        present = seen > 0
        return float((2 * self.correct_by_token[present].double() / seen[present]).mean())
