"""Adapters of LoRA computed with the layer that they stand on, in one operation with a backward of its own.

`x Wᵀ + b + scaling (x Aᵀ) Bᵀ` is made in one tensor: PEFT makes three of the layer's size for it, and as many for their
gradients. What is added, and in which order, is the same, and so are the parameters and what is saved of them.
"""

from __future__ import annotations

import types
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import Tensor
from torch.autograd.function import once_differentiable
from transformers.pytorch_utils import Conv1D


def fuse_lora(model: torch.nn.Module) -> tuple[int, Mapping[str, int]]:
    """Replace the forward of each adapter that can be; returns how many were, and why others were not, counted.

    A call that is anything else than a training step on one plain adapter goes to PEFT's own forward.
    """
    adapters = [module for module in model.modules() if hasattr(module, "lora_A") and hasattr(module, "base_layer")]
    reasons = [(module, why_not_fusible(module)) for module in adapters]
    for module, reason in reasons:
        if reason is None:
            module.forward = types.MethodType(_forward, module)  # bound, so that a copy runs on its own weights
    return sum(reason is None for _, reason in reasons), Counter(reason for _, reason in reasons if reason is not None)


def why_not_fusible(module: Any) -> str | None:
    """Return why PEFT computes an adapter itself; None: it can be fused."""
    base = module.get_base_layer()
    if type(module) is not Linear or type(base) not in (torch.nn.Linear, Conv1D):
        return "not on a plain linear layer"
    if module.lora_variant:
        return "a variant of LoRA"
    if len(module.lora_A) != 1:
        return "several adapters on a layer"
    layers = (base, *module.lora_A.values(), *module.lora_B.values())
    if any(map(_is_changed, (module, *layers))):
        return "a layer with a hook or a forward of its own"
    if any(layer.weight.dtype != torch.float32 for layer in layers):
        return "not in single precision"
    if any(each.requires_grad for each in base.parameters()) or any(module.lora_bias.values()):
        return "weights or biases beside the adapter are trained"
    return None


def _is_changed(layer: torch.nn.Module) -> bool:
    """Tell whether somebody else takes part in a layer's calls."""
    own = vars(layer).get("forward")
    return bool(layer._forward_hooks or layer._forward_pre_hooks) or getattr(own, "__func__", own) not in (
        None,
        _forward,
    )


def _forward(self: Any, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    name = next(iter(self.lora_A))
    if args or kwargs or not _is_plain_step(self, x, name):
        return type(self).forward(self, x, *args, **kwargs)
    base, dropout = self.get_base_layer(), self.lora_dropout[name]
    weight = base.weight.T if isinstance(base, Conv1D) else base.weight
    is_dropped = isinstance(dropout, torch.nn.Dropout) and self.training
    dropped = dropout(x).flatten(0, -2) if is_dropped else None
    down, up = self.lora_A[name].weight, self.lora_B[name].weight
    made = _FusedLora.apply(x.flatten(0, -2), dropped, weight, base.bias, down, up, self.scaling[name])
    return made.unflatten(0, x.shape[:-1])


def _is_plain_step(layer: Any, x: Tensor, name: str) -> bool:
    """Tell whether a call trains this adapter alone, in single precision; in others there is nothing to gain."""
    return (
        torch.is_grad_enabled()
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled(x.device.type)
        and not layer.disable_adapters
        and not layer.merged
        and layer.active_adapters == [name]
        and len(layer.lora_A) == 1
        and x.dim() > 1
    )


class _FusedLora(torch.autograd.Function):
    """`x`: (tokens, in), `dropped`: the same after dropout, None: without; `down`: (rank, in), `up`: (out, rank)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        dropped: Tensor | None,
        weight: Tensor,
        bias: Tensor | None,
        down: Tensor,
        up: Tensor,
        scaling: float,
    ) -> Tensor:
        read = x if dropped is None else dropped
        narrow = read @ down.T
        ctx.save_for_backward(read, narrow, weight, down, up)
        ctx.is_dropped, ctx.scaling = dropped is not None, scaling
        return torch.nn.functional.linear(x, weight, bias).addmm_(narrow, up.T, alpha=scaling)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        read, narrow, weight, down, up = ctx.saved_tensors
        (gradient,) = upstream
        of_narrow = (gradient @ up).mul_(ctx.scaling)
        of_x = gradient @ weight if ctx.needs_input_grad[0] else None
        of_dropped = of_narrow @ down if ctx.is_dropped and ctx.needs_input_grad[1] else None
        if of_x is not None and not ctx.is_dropped:
            of_x.addmm_(of_narrow, down)
        return of_x, of_dropped, None, None, of_narrow.T @ read, (gradient.T @ narrow).mul_(ctx.scaling), None
