"""A linear layer whose weight stays packed as GPTQ left it, in pure torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_WORD_BITS = 32
"""Integers are packed into words of 32 bits, the first one in the lowest bits."""


class GPTQLinear(nn.Linear):
    """Multiply by a weight that is unpacked at each use, forward and backward, and never kept.

    It is an `nn.Linear`, so that PEFT puts adapters on it. The packed tensors are frozen parameters; DDP would send
    buffers to every process at each step.

    qweight: `(in_features * bits / 32, out_features)` int32, qzeros: `(groups, out_features * bits / 32)` int32,
    scales: `(groups, out_features)`, g_idx: `(in_features,)` int32, the group of each input.
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool, bits: int, group_size: int, zero_offset: int
    ) -> None:
        """Make a layer without values; `zero_offset` is what a stored zero point lacks."""
        nn.Module.__init__(self)
        self.in_features, self.out_features = in_features, out_features
        self.bits, self.zero_offset = bits, zero_offset
        groups, per_word = -(-in_features // group_size), _WORD_BITS // bits
        self.qweight = _frozen(torch.empty(in_features // per_word, out_features, dtype=torch.int32))
        self.qzeros = _frozen(torch.empty(groups, out_features // per_word, dtype=torch.int32))
        self.scales = _frozen(torch.empty(groups, out_features))
        self.g_idx = _frozen(torch.empty(in_features, dtype=torch.int32))
        self.register_parameter("bias", _frozen(torch.empty(out_features)) if bias else None)

    def forward(self, input: Tensor) -> Tensor:
        """Multiply in the type of autocast, else in that of the input."""
        kind = input.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else input.dtype
        output: Tensor = _PackedMatmul.apply(input.to(dtype), self)  # pyright: ignore[reportAssignmentType]
        return output if self.bias is None else output + self.bias.to(dtype)

    @property
    def weight(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Return the packed weight, by which PEFT finds the device; adding to its integers fails, as it must."""
        return self.qweight

    def dequantized(self, dtype: torch.dtype) -> Tensor:
        """Return the weight as `(in_features, out_features)`, the transpose of what `nn.Linear` calls so."""
        weight = unpacked(self.qweight, self.bits, dim=0)
        # The last bits of a zero point are all that was stored: 0 less 1 came out as the largest value.
        zeros = (unpacked(self.qzeros, self.bits, dim=1) + self.zero_offset) & (2**self.bits - 1)
        group = self.g_idx.long()
        return ((weight - zeros[group]).to(self.scales.dtype) * self.scales[group]).to(dtype)

    def extra_repr(self) -> str:
        """Tell the sizes."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bits={self.bits}"


class _PackedMatmul(torch.autograd.Function):
    """Multiply by a packed weight, of which nothing dense is kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, layer: GPTQLinear) -> Tensor:
        ctx.layer = layer
        return input @ layer.dequantized(input.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None]:
        (gradient,) = gradients
        return (gradient @ ctx.layer.dequantized(gradient.dtype).T if ctx.needs_input_grad[0] else None), None


def unpacked(words: Tensor, bits: int, dim: int) -> Tensor:
    """Return the integers that words hold along a dimension, each from 0 to 2 ** bits - 1."""
    shifts = torch.arange(0, _WORD_BITS, bits, dtype=torch.int32, device=words.device)
    shape = [1] * (words.dim() + 1)
    shape[dim + 1] = len(shifts)
    values = (words.unsqueeze(dim + 1) >> shifts.view(shape)) & (2**bits - 1)
    return values.flatten(dim, dim + 1)


def _frozen(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)
