"""A forward of one model that scores supervised tokens alone, for TRL's trainer and for transformers' own."""

from __future__ import annotations

import functools
import logging
import types
from typing import Any

import torch
from torch import Tensor
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from tuning.acceleration.divided_weights import as_the_first_process, is_divided
from tuning.acceleration.supervised_loss import Finish, Scores, supervised_scores
from tuning.causal_lm import IGNORED_LABEL

logger = logging.getLogger(__name__)

_LARGEST_DIFFERENCE = 2e-2
"""In nats, of a log likelihood: half precision rounds to 2**-8, and a wrong factor or cap is far off."""


def base_of(model: Any) -> PreTrainedModel:
    """Return the model that adapters are wrapped around, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def why_not_fusible(model: PreTrainedModel) -> str | None:
    """Return why the logits of a model cannot be made of its last hidden states by its head alone; None: they can."""
    head: Any = model.get_output_embeddings()
    weight = getattr(head, "weight", None)
    if not isinstance(weight, Tensor) or weight.dim() != 2 or not weight.is_floating_point() or not weight.numel():
        return "its head is no matrix of floating-point numbers that is whole here"
    if hasattr(head, "base_layer"):
        return "its head has adapters"
    if hasattr(weight, "full_tensor") or is_divided(model):
        return "its head is spread over several devices"
    if getattr(model.config.get_text_config(), "output_router_logits", False):
        return "it adds the loss of its router"
    return None if _makes_the_same(model) else "it changes its logits in a way that is not known here"


def fuse_head(model: PreTrainedModel) -> None:
    """Replace the forward of this model; calls that have no labels to score go to the one before."""
    before, finish = model.forward, Finish.of(model.config)
    # A function of the model, not of this one: a copy must not run on the weights that it was copied from.
    original = getattr(before, "__func__", lambda _, *args, **kwargs: before(*args, **kwargs))

    @functools.wraps(type(model).forward)  # generate() and the trainer read its signature
    def forward(
        self: PreTrainedModel,
        *args: Any,
        fused_lm_head: bool = False,
        labels: Tensor | None = None,
        shift_labels: Tensor | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> Any:
        given = {"labels": labels, "shift_labels": shift_labels, "num_items_in_batch": num_items_in_batch}
        given = {name: value for name, value in given.items() if value is not None}
        is_scored = (fused_lm_head or self.training) and (labels is not None or shift_labels is not None)
        if not is_scored or kwargs.get("output_router_logits") or kwargs.get("return_dict") is False:
            fused = {"fused_lm_head": True} if fused_lm_head else {}
            return original(self, *args, **given, **fused, **kwargs)
        scored = _scored(self, finish, (args, kwargs), labels, shift_labels)
        return _trl_output(*scored, num_items_in_batch) if fused_lm_head else _output(*scored, num_items_in_batch)

    model.forward = types.MethodType(forward, model)  # bound, so that a copy of the model scores by itself


def _scored(
    model: PreTrainedModel,
    finish: Finish,
    call: tuple[tuple[Any, ...], dict[str, Any]],
    labels: Tensor | None,
    shift_labels: Tensor | None,
) -> tuple[Scores, Tensor]:
    """Run the model without its head; returns the scores of supervised tokens, and where they are, (batch, tokens)."""
    args, kwargs = call
    hidden_states = model.base_model(*args, **{**kwargs, "use_cache": False}).last_hidden_state
    if shift_labels is None:
        assert labels is not None
        hidden_states, shift_labels = hidden_states[:, :-1], labels[:, 1:]
    head: Any = model.get_output_embeddings()
    _gather(head)
    hidden_states, wanted = hidden_states.to(head.weight.device), shift_labels.to(head.weight.device)
    mask = wanted != IGNORED_LABEL
    bias = getattr(head, "bias", None)
    return supervised_scores(hidden_states[mask], head.weight, bias, wanted[mask], finish), mask


def _gather(head: Any) -> None:
    """Bring the weights of a divided head together, as its own forward would, which is passed over."""
    if isinstance(head, FSDPModule):
        head.unshard()


def _mean_loss(scores: Scores, mask: Tensor, num_items: Tensor | int | None) -> Tensor:
    """Return the mean negative log likelihood; without supervised tokens a zero that still has a gradient."""
    count = mask.sum() if num_items is None else torch.as_tensor(num_items, device=mask.device)
    return -scores.log_probs.sum() / count.clamp(min=1)


def _output(scores: Scores, mask: Tensor, num_items: Tensor | int | None) -> CausalLMOutputWithPast:
    loss: Any = _mean_loss(scores, mask, num_items)
    return CausalLMOutputWithPast(loss=loss)


def _trl_output(scores: Scores, mask: Tensor, num_items: Tensor | int | None) -> Any:
    from trl.trainer.utils import FusedCausalLMOutput

    log_probs, entropy, is_top1 = (each.new_zeros(mask.shape).masked_scatter(mask, each) for each in scores)
    return FusedCausalLMOutput(
        loss=_mean_loss(scores, mask, num_items),
        log_probs=log_probs,
        entropy=entropy,
        is_top1=is_top1,
        label_mask=mask,
    )


def _makes_the_same(model: PreTrainedModel) -> bool:
    """Compare what is scored here with what the model's own logits give for a few tokens."""
    ids = torch.arange(2, 8, device=model.device)[None] % model.config.get_text_config().vocab_size
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            scores, _ = _scored(model, Finish.of(model.config), ((), {"input_ids": ids}), ids, None)
            logits = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
    except (AttributeError, TypeError) as error:  # a model of another build than transformers' own
        logger.debug("the head of %s: %s", type(model).__name__, error)
        return False
    finally:
        model.train(was_training)
    own = logits.log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
    is_close = torch.allclose(scores.log_probs, own, rtol=_LARGEST_DIFFERENCE, atol=_LARGEST_DIFFERENCE)
    return as_the_first_process(is_close)
