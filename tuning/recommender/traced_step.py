"""Make a model do an optimizer step as training would, and tell a ledger which stretch of it has begun."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

from tuning.recommender.live_storages import LiveStorages
from tuning.recommender.memory import Step
from tuning.recommender.traced_kernels import kernels_for
from tuning.recommender.traced_model import base_of, blocks

FORWARD, LOSS, LAST_BLOCK, MIDDLE, FIRST_BLOCK, OPTIMIZER = (
    *("forward", "loss", "last block", "middle blocks", "first block", "optimizer"),
)
"""The stretches of a step. Between the last block and the first, what is held changes evenly."""
_FUSED_OUTPUTS = ("log_probs", "entropy", "is_top1")
"""What TRL 1.16's SFTTrainer asks of its loss."""


def prepared_step(model: Any, step: Step, ledger: LiveStorages) -> Callable[[], None]:
    """Prepare a model and its optimizer as TRL's trainer does; returns a function that does one optimizer step."""
    import torch

    base = base_of(model, step)
    if step.head != "whole":
        from trl.trainer.utils import add_fused_lm_head

        add_fused_lm_head(base, outputs=_FUSED_OUTPUTS)
    if step.gradient_checkpointing:
        _checkpoint(model, step)
    _tell_stretches(base, ledger)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.register_post_accumulate_grad_hook(lambda found: ledger.hold(found.grad, "gradients"))
    is_fused = step.optim == "adamw_torch_fused"
    optimizer = torch.optim.AdamW(trained, fused=is_fused, foreach=not is_fused)
    model.train()

    def run() -> None:
        with kernels_for(step):
            for _ in range(min(2, step.gradient_accumulation_steps)):
                _forward_and_backward(model, step, ledger)
        ledger.enter(OPTIMIZER, "optimizer")
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return run


def _forward_and_backward(model: Any, step: Step, ledger: LiveStorages) -> None:
    import torch

    ledger.enter(FORWARD, "activations")
    tokens = torch.zeros((step.rows, step.length), dtype=torch.long)
    inputs = {"input_ids": tokens, "labels": tokens, "use_cache": False}
    if step.has_mask:
        inputs["attention_mask"] = torch.ones_like(tokens)
    with torch.autocast("cpu", torch.bfloat16) if step.autocast else nullcontext():
        if step.head == "whole":
            loss = model(**inputs).loss
        else:
            found = model(**inputs, fused_lm_head=True)
            loss = -found.log_probs.sum() / step.tokens
            del found
    loss.backward()


def _checkpoint(model: Any, step: Step) -> None:
    model.gradient_checkpointing_enable({"use_reentrant": False})
    if step.r is not None:
        model.enable_input_require_grads()


def _tell_stretches(base: Any, ledger: LiveStorages) -> None:
    """Enter a stretch when the body of the model is done, and when a gradient arrives at the output of a block."""
    layers = blocks(base)

    def when_gradient_arrives(output: Any, moment: str) -> None:
        tensor = output[0] if isinstance(output, (tuple, list)) else output
        if tensor.requires_grad:
            tensor.register_hook(lambda gradient: ledger.enter(moment, "activations"))

    def end_of_body(module: Any, inputs: Any, output: Any) -> None:
        when_gradient_arrives(output.last_hidden_state, LAST_BLOCK)
        ledger.enter(LOSS, "logits")

    base.base_model.register_forward_hook(end_of_body)
    for index, layer in enumerate(layers[:-1]):
        moment = MIDDLE if index else FIRST_BLOCK
        layer.register_forward_hook(lambda module, inputs, output, moment=moment: when_gradient_arrives(output, moment))
