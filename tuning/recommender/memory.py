"""How much memory a training step needs, in closed form: milliseconds, no torch.

Source of the forms: the tensors that autograd keeps for the layers of a Llama-type decoder with fused attention, as
counted under each function. Dropout, expert routing and attention without a fused kernel are left out.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from tuning.recommender.model_facts import ModelFacts
from tuning.recommender.shape import Linear, Shape

_TILE_TOKENS = 4096
_TILE_VOCABULARY = 32_768
"""Size of the tiles in which TRL 1.16 computes the loss."""
_CPU_TILE_BYTES = 40
"""Bytes for each logit of a tile where there is no fused kernel.

Source: own measurement of TRL 1.16 on a CPU, vocabulary 32,000 and 1,024 tokens: 1.3 GB beyond the rest of the step.
"""


@dataclass(frozen=True)
class Step:
    """One training step on one device.

    `dtype_bytes` is the size of a weight (4: float32, 2: bfloat16 or float16). `autocast`: matrices multiply in half
    precision while the weights stay as they are. `r` None means full fine-tuning; `target_modules` None all linear
    layers. `head`: how the loss is computed, from all logits at once or in tiles as TRL does.
    """

    rows: int
    length: int
    dtype_bytes: int = 4
    autocast: bool = False
    r: int | None = None
    target_modules: Collection[str] | None = None
    gradient_checkpointing: bool = False
    head: Literal["whole", "tiles", "tiles_on_cpu"] = "tiles"
    num_shards: int = 1
    num_replicas: int = 1

    @property
    def tokens(self) -> int:
        """Return the tokens of one forward pass, padding included."""
        return self.rows * self.length


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that a step needs, by what they hold.

    `activations_bytes` are those kept from the forward pass for the backward pass, `layer_bytes` those of one block,
    which checkpointing computes again.
    """

    weights_bytes: int
    gradients_bytes: int
    optimizer_bytes: int
    activations_bytes: int
    layer_bytes: int
    logits_bytes: int

    @property
    def total_bytes(self) -> int:
        """Return the peak: at the loss, while the last block is computed again, or when all gradients are there."""
        at_loss = self.activations_bytes + self.logits_bytes
        at_last_block = self.activations_bytes + self.layer_bytes
        at_end = self.gradients_bytes + self.layer_bytes
        return self.weights_bytes + self.optimizer_bytes + max(at_loss, at_last_block, at_end)


def estimate_memory(model: ModelFacts, step: Step) -> MemoryEstimate | None:
    """Estimate a step with AdamW; None where the model's shape is not known."""
    shape, parameters = model.shape, model.num_parameters
    if shape is None or not parameters:
        return None
    adapters = lora_parameters(shape, step.r, step.target_modules) if step.r is not None else 0
    trained, trained_bytes = (adapters, 4) if step.r is not None else (parameters, step.dtype_bytes)
    copies = 2 if step.num_replicas > 1 and step.num_shards == 1 else 1  # DDP's buckets hold the gradients again
    layer = _layer_bytes(shape, step) * step.tokens
    kept = step.tokens * shape.hidden_size * step.dtype_bytes if step.gradient_checkpointing else layer
    return MemoryEstimate(
        weights_bytes=(_weights(parameters, step) + 4 * adapters) // step.num_shards,
        gradients_bytes=trained * trained_bytes * copies // step.num_shards,
        optimizer_bytes=2 * trained * trained_bytes // step.num_shards,
        activations_bytes=shape.num_hidden_layers * kept,
        layer_bytes=layer if step.gradient_checkpointing else 0,
        logits_bytes=_logits(shape, step),
    )


def lora_parameters(shape: Shape, r: int, target_modules: Collection[str] | None = None) -> int:
    """Count the parameters of rank-`r` adapters: r (in + out) for each linear layer that is a target."""
    layers = adapted_layers(shape, target_modules)
    return r * shape.num_hidden_layers * sum(layer.in_features + layer.out_features for layer in layers)


def adapted_layers(shape: Shape, target_modules: Collection[str] | None = None) -> tuple[Linear, ...]:
    """List the layers of a block that get adapters; names that are not known here mean all of them."""
    layers = shape.linear_layers()
    chosen = tuple(layer for layer in layers if target_modules is None or layer.name in target_modules)
    return chosen or layers


def _weights(parameters: int, step: Step) -> int:
    """Count the weights and, under autocast, the half-precision copies that the backward pass needs."""
    return parameters * (6 if step.autocast and step.dtype_bytes == 4 else step.dtype_bytes)


def _layer_bytes(shape: Shape, step: Step) -> int:
    """Count the bytes that one decoder block keeps for each token, h: hidden, q, kv: heads, i: MLP.

    Each of the two norms keeps its input and its normed value in float32 and its output; attention keeps queries, keys,
    values and its output; a gated MLP keeps the gate before and after its activation, the other branch and the product.
    """
    half = step.autocast or step.dtype_bytes == 2
    norms = (16 if step.dtype_bytes == 2 else 20 if half else 24) * shape.hidden_size
    mlp = shape.intermediate_size * (2 if shape.num_experts else 1)  # most routers send a token to two experts or more
    kept = norms + (2 if half else 4) * (2 * shape.query_size + 2 * shape.key_value_size + 4 * mlp)
    return kept if step.r is None else kept + _adapter_bytes(shape, step, step.r, half)


def _adapter_bytes(shape: Shape, step: Step, r: int, half: bool) -> int:
    """Count what adapters keep beyond a full step: frozen norms keep one value less, and each adapter its input.

    On a half-precision base the input is a copy of its own, in float32 unless autocast makes it half precision.
    """
    layers = adapted_layers(shape, step.target_modules)
    ranks = r * len(layers)
    frozen = 2 * (2 if half else 4) * shape.hidden_size
    if not half:
        return 4 * ranks - frozen
    product = 0 if shape.num_experts else 2 * shape.intermediate_size
    return (2 if step.autocast else 4) * (sum(layer.in_features for layer in layers) + ranks) - frozen - product


def _logits(shape: Shape, step: Step) -> int:
    """Logits, their float32 copy, the softmax and its gradient: 14 or 16 bytes each; in tiles, one tile at a time."""
    vocabulary, half = shape.vocab_size, step.autocast or step.dtype_bytes == 2
    if step.head == "whole":
        return (14 if half else 16) * vocabulary * step.tokens
    tile = min(step.tokens, _TILE_TOKENS) * min(vocabulary, _TILE_VOCABULARY)
    each = _CPU_TILE_BYTES if step.head == "tiles_on_cpu" else 2 if half else 4
    return each * tile + 4 * shape.hidden_size * (step.tokens + (vocabulary if step.r is None else 0))
