"""Losses and most likely tokens of a batch, without the logits of the whole batch at once."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tuning.causal_lm import IGNORED_LABEL, scale_and_cap

logger = logging.getLogger(__name__)

_LOGITS_AT_ONCE = 2**25
"""Numbers of the logits that are held at once: 128 MiB of single precision."""

Finish = Callable[[Tensor], Tensor]


class Scores(NamedTuple):
    """Tokens that the loss falls on: each of shape `(tokens,)`, losses in nats."""

    losses: Tensor
    labels: Tensor
    predictions: Tensor


class TokenScorer:
    """Score batches with one model; `base` is what `model`, which is called, wraps.

    The model is called for the logits of one position alone; the others are made from its last hidden states, some at
    a time, by its head and what its configuration says of scaling and capping. Where that does not give the one that
    the model made, or where the head is not whole on this device, the model makes all logits of the batch.
    """

    def __init__(self, model: Any, base: Any) -> None:
        self.model = model
        self.base = base.get_base_model() if hasattr(base, "get_base_model") else base
        self.in_parts: bool | None = None if _keeps_few_logits(self.base) else False
        """None: not known yet."""

    def score(self, inputs: Mapping[str, Any]) -> Scores:
        """Score the tokens of a batch that have a label and a token before them."""
        given = {name: value for name, value in inputs.items() if name != "labels"}
        labels = inputs["labels"][:, 1:]
        mask = labels != IGNORED_LABEL
        if self.in_parts is not False:
            with _last_hidden_states(self.base) as kept:
                last = self.model(**given, use_cache=False, logits_to_keep=1).logits
            if self.in_parts is None:
                self.in_parts = bool(kept) and self._makes_the_same(kept[-1], last)
            if self.in_parts:
                wanted = kept[-1][:, -inputs["labels"].shape[1] : -1][mask]  # virtual tokens stand before the batch's
                return _scored(wanted, labels[mask], self._logits, self.vocab_size())
        logits = self.model(**given, use_cache=False).logits
        logits = logits[:, -inputs["labels"].shape[1] :]
        return _scored(logits[:, :-1][mask], labels[mask], lambda part: part, logits.shape[-1])

    def vocab_size(self) -> int:
        """Return how many tokens the head knows."""
        return int(self.base.get_output_embeddings().weight.shape[0])

    def _makes_the_same(self, hidden_states: Tensor, last: Tensor) -> bool:
        head = self.base.get_output_embeddings()
        if getattr(head, "weight", None) is None or head.weight.dim() != 2:  # sharded away by FSDP or DeepSpeed
            logger.warning("evaluation: the head is not whole here, so each batch needs the memory of all its logits")
            return False
        made = self._logits(hidden_states[:, -1]).float()
        wanted = last[:, -1].float()
        same = made.shape == wanted.shape and torch.allclose(made, wanted, rtol=0.02, atol=0.02, equal_nan=True)
        if not same:
            logger.warning(
                "evaluation: the model changes its logits after the head, so each batch needs the memory of all of them"
            )
        return same

    def _logits(self, hidden_states: Tensor) -> Tensor:
        head = self.base.get_output_embeddings()
        hidden_states = hidden_states.to(head.weight.device)
        if hasattr(head.weight, "full_tensor"):  # FSDP2: a shard that can be asked for the whole
            bias = None if head.bias is None else head.bias.full_tensor()
            logits = torch.nn.functional.linear(hidden_states, head.weight.full_tensor(), bias)
        else:
            logits = head(hidden_states)
        return finish_of(self.base.config)(logits)


def finish_of(config: Any) -> Finish:
    """Return what models of a configuration do to their logits after the head: scale them, then cap them softly."""
    scale, cap = scale_and_cap(config)

    def finish(logits: Tensor) -> Tensor:
        scaled = logits if scale == 1.0 else logits * scale
        return scaled if cap is None else torch.tanh(scaled / cap) * cap

    return finish


def _scored(hidden_states: Tensor, labels: Tensor, logits_of: Finish, vocab_size: int) -> Scores:
    """Score tokens, some at a time."""
    size = max(1, _LOGITS_AT_ONCE // vocab_size)
    losses, predictions = [torch.zeros(0, device=labels.device)], [labels[:0]]
    for part, wanted in zip(hidden_states.split(size), labels.split(size), strict=True):
        if not len(wanted):
            continue
        logits = logits_of(part).float()
        wanted = wanted.to(logits.device)
        losses.append(logits.logsumexp(-1) - logits.gather(-1, wanted[:, None])[:, 0])
        predictions.append(logits.argmax(-1))
    device = losses[-1].device
    return Scores(torch.cat([part.to(device) for part in losses]), labels.to(device), _joined(predictions, device))


def _joined(parts: list[Tensor], device: torch.device) -> Tensor:
    return torch.cat([part.to(device) for part in parts])


def _keeps_few_logits(model: Any) -> bool:
    return "logits_to_keep" in inspect.signature(type(model).forward).parameters


@contextmanager
def _last_hidden_states(model: Any) -> Iterator[list[Tensor]]:
    """Collect what the layers below the head return, for as long as the context is open."""
    kept: list[Tensor] = []

    def keep(*call: Any) -> None:
        if (found := getattr(call[-1], "last_hidden_state", None)) is not None:
            kept.append(found)

    hook = model.base_model.register_forward_hook(keep)
    try:
        yield kept
    finally:
        hook.remove()
