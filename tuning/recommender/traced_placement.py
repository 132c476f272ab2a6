"""Turn what a trace on one device holds into what a device of several holds, and count quantized weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tuning.recommender.memory import INT8_BYTES, INT8_SCALE_BYTES, NF4_BYTES, Step
from tuning.recommender.traced_model import base_of, blocks
from tuning.recommender.traced_step import OPTIMIZER

if TYPE_CHECKING:
    import torch


def placed(parts: Mapping[str, float], moment: str, model: Any, step: Step) -> dict[str, float]:
    """Return what one device holds of the parts of a moment."""
    held = {part: float(parts.get(part, 0)) for part in ("weights", "gradients", "optimizer", "activations", "logits")}
    is_computing = moment != OPTIMIZER
    if step.is_quantized:
        _quantize(held, base_of(model, step), step, is_computing)
    if step.num_shards > 1:
        _shard(held, model, step, is_computing)
    elif step.num_replicas > 1:
        held["gradients"] += _bytes(_trained(model))  # DDP's buckets hold the gradients again
    return held


def _quantize(held: dict[str, float], base: Any, step: Step, is_computing: bool) -> None:
    """Count the matrices of the blocks in nf4 or int8, and one of them dequantized while it multiplies."""
    frozen = [found for block in blocks(base) for found in block.parameters() if not found.requires_grad]
    linears = [parameter for parameter in frozen if parameter.dim() == 2]
    count = sum(weight.numel() for weight in linears)
    in_int8 = INT8_BYTES * count + INT8_SCALE_BYTES * sum(weight.shape[0] for weight in linears)
    held["weights"] -= _bytes(linears) - (NF4_BYTES * count if step.load_in_4bit else in_int8)
    held["activations"] += max(map(_size, linears), default=0) if is_computing else 0


def _shard(held: dict[str, float], model: Any, step: Step, is_computing: bool) -> None:
    """Divide what is kept between steps, as FSDP2 does.

    While it computes, the part outside the blocks is whole, and so are the block at work and the one that is fetched
    next; the gradients of a block are whole, and copied into a float32 buffer to be added up.
    """
    layers = blocks(model)
    block = list(layers[0].parameters())
    inside = {id(parameter) for layer in layers for parameter in layer.parameters()}
    outside = [parameter for parameter in model.parameters() if id(parameter) not in inside]
    kept_in_float32 = step.dtype_bytes // step.computing.dtype_bytes
    for part in ("weights", "gradients", "optimizer"):
        times = kept_in_float32 if step.r is None or part == "weights" else 1
        held[part] *= times / step.num_shards
    if is_computing:
        trained = [parameter for parameter in block if parameter.requires_grad]
        held["weights"] += _bytes(outside) + 2 * _bytes(block)
        held["gradients"] += _bytes(trained) + 4 * sum(parameter.numel() for parameter in trained)


def _trained(model: Any) -> list[torch.Tensor]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _bytes(tensors: Sequence[torch.Tensor]) -> int:
    return sum(map(_size, tensors))


def _size(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
