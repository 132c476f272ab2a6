"""The loss over supervised tokens alone: logits, their scores and all gradients in one pass, a few tokens at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tuning.causal_lm import scale_and_cap

_LOGITS_AT_ONCE = 2**22
"""Numbers of the logits that are held at once at most: 16 MiB of single precision."""
_TOKENS_AT_ONCE = 128
"""More do not stay in a core's caches from one walk over the vocabulary to the next; with fewer the products slow down.
Source: 555 tokens on one core, 8,192 and 32,000 words, 64 to 512 tokens at once."""


class Scores(NamedTuple):
    """What is known of each supervised token, shape `(tokens,)`: nats, nats, and whether it is the most likely one."""

    log_probs: Tensor
    entropy: Tensor
    is_top1: Tensor


@dataclass(frozen=True)
class Finish:
    """What a model does to the logits after its head: multiplies them, then caps them softly."""

    scale: float = 1.0
    cap: float | None = None

    @classmethod
    def of(cls, config: Any) -> Finish:
        """Read it from a configuration."""
        return cls(*scale_and_cap(config))

    def apply(self, logits: Tensor) -> Tensor:
        """Finish logits, in place."""
        if self.scale != 1.0:
            logits.mul_(self.scale)
        return logits if self.cap is None else logits.div_(self.cap).tanh_().mul_(self.cap)

    def backward(self, gradient: Tensor, logits: Tensor) -> Tensor:
        """Turn the gradient of finished logits into that of the head's own, in place."""
        if self.cap is not None:
            gradient.mul_(1 - (logits / self.cap).square_())
        return gradient if self.scale == 1.0 else gradient.mul_(self.scale)


def supervised_scores(
    hidden_states: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, finish: Finish = Finish()
) -> Scores:
    """Score labels, `(tokens,)`, by the hidden states before them, `(tokens, hidden_size)`.

    Only `log_probs` has a gradient, and it can be asked for once. Under autocast the products are of its type.
    """
    return Scores(*_SupervisedScores.apply(hidden_states, weight, bias, labels, finish))


class _Parameters(NamedTuple):
    """The head in the type that its products are computed in."""

    weight: Tensor
    bias: Tensor | None


class _Gradients(NamedTuple):
    """Gradients of the sum of `log_probs`; None: not asked for."""

    hidden_states: Tensor | None
    weight: Tensor | None
    bias: Tensor | None


class _SupervisedScores(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_states: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, finish: Finish
    ) -> tuple[Tensor, Tensor, Tensor]:
        dtype = _dtype_of_products(hidden_states)
        head = _Parameters(weight.to(dtype), None if bias is None else bias.to(dtype))
        ctx.wants, ctx.finish, ctx.dtype = ctx.needs_input_grad[:3], finish, dtype
        scores, gradients = _one_pass(hidden_states, head, labels, finish, ctx.wants, None)
        ctx.save_for_backward(hidden_states, weight, bias, labels, *gradients)
        ctx.mark_non_differentiable(scores.entropy, scores.is_top1)
        return scores.log_probs, scores.entropy, scores.is_top1

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        hidden_states, weight, bias, labels, *kept = ctx.saved_tensors
        factors, gradients = upstream[0], _Gradients(*kept)
        if _are_equal(factors) or not any(ctx.wants[1:]):
            return *_scaled(gradients, factors), None, None
        head = _Parameters(weight.to(ctx.dtype), None if bias is None else bias.to(ctx.dtype))
        _, gradients = _one_pass(hidden_states, head, labels, ctx.finish, ctx.wants, factors)
        return *gradients, None, None


def _dtype_of_products(hidden_states: Tensor) -> torch.dtype:
    kind = hidden_states.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden_states.dtype


def _are_equal(factors: Tensor) -> bool:
    return not len(factors) or bool((factors == factors[0]).all())


def _scaled(gradients: _Gradients, factors: Tensor) -> tuple[Tensor | None, ...]:
    """Scale gradients by what comes from above; the head's have summed over tokens, so that it must be one number.

    They are scaled in place: a second backward is then refused by torch, instead of being wrong.
    """
    hidden_states, weight, bias = gradients
    if hidden_states is not None:
        hidden_states = hidden_states.mul_(factors[:, None].to(hidden_states.dtype))
    if len(factors):
        weight = None if weight is None else weight.mul_(factors[0])
        bias = None if bias is None else bias.mul_(factors[0])
    return hidden_states, weight, bias


def _one_pass(
    hidden_states: Tensor,
    head: _Parameters,
    labels: Tensor,
    finish: Finish,
    wants: tuple[bool, ...],
    factors: Tensor | None,
) -> tuple[Scores, _Gradients]:
    """Score tokens, and make the gradients of the sum of their log likelihoods, each times its factor."""
    num_tokens = len(labels)
    scores = Scores(
        hidden_states.new_empty(num_tokens, dtype=torch.float32),
        hidden_states.new_empty(num_tokens, dtype=torch.float32),
        hidden_states.new_empty(num_tokens, dtype=torch.bool),
    )
    gradients = _Gradients(
        torch.empty_like(hidden_states) if wants[0] else None,
        torch.zeros_like(head.weight, dtype=torch.float32) if wants[1] else None,
        torch.zeros_like(head.bias, dtype=torch.float32) if wants[2] and head.bias is not None else None,
    )
    size = max(1, min(_TOKENS_AT_ONCE, _LOGITS_AT_ONCE // head.weight.shape[0]))
    with torch.autocast(hidden_states.device.type, enabled=False):  # which would round the entropy to half precision
        for start in range(0, num_tokens, size):
            part = slice(start, start + size)
            hidden = hidden_states[part].to(head.weight.dtype)
            logits = finish.apply(torch.nn.functional.linear(hidden, head.weight, head.bias).float())
            probs = _score(logits, labels[part], scores, part)
            if any(wants):
                gradient = _gradient_of_loss(probs, labels[part], None if factors is None else factors[part])
                _add_gradients(finish.backward(gradient, logits), hidden, head, gradients, part)
    return scores, gradients


def _score(logits: Tensor, labels: Tensor, scores: Scores, part: slice) -> Tensor:
    """Fill in the scores of some tokens; returns the probabilities of the vocabulary, (tokens, vocabulary).

    The vocabulary is walked as few times as can be: at these sizes that costs as much as the products do.
    """
    probs = torch.softmax(logits, dim=-1)
    highest, own = logits.amax(-1), logits.gather(1, labels[:, None])[:, 0]
    log_highest = probs.amax(-1).log_()  # never less than -log(vocabulary), whatever the label's own is
    scores.log_probs[part] = own - highest + log_highest
    is_likely = own >= highest
    # Half precision makes equals; of them the first one counts, as in TRL's loss and in evaluations.
    is_first = logits[is_likely].argmax(-1) == labels[is_likely]
    scores.is_top1[part] = is_likely.masked_scatter(is_likely, is_first)
    scores.entropy[part] = highest - log_highest - torch.linalg.vecdot(probs, logits)
    return probs


def _gradient_of_loss(probs: Tensor, labels: Tensor, factors: Tensor | None) -> Tensor:
    """Turn probabilities into the gradient of the negative log likelihoods, in place."""
    probs[torch.arange(len(labels), device=labels.device), labels] -= 1
    return probs if factors is None else probs.mul_(factors[:, None])


def _add_gradients(gradient: Tensor, hidden: Tensor, head: _Parameters, gradients: _Gradients, part: slice) -> None:
    """Subtract what the loss of some tokens gives: the sign is turned in the small products alone."""
    product = gradient.to(head.weight.dtype)
    if gradients.hidden_states is not None:
        gradients.hidden_states[part] = (product @ head.weight).neg_()
    if gradients.weight is not None:
        if product.dtype == gradients.weight.dtype:
            gradients.weight.addmm_(product.T, hidden, alpha=-1)
        else:
            gradients.weight.sub_(product.T @ hidden)
    if gradients.bias is not None:
        gradients.bias.sub_(gradient.sum(0))
