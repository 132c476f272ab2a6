"""How much memory a training step needs, in closed form: milliseconds, no torch.

Source of the forms: the tensors that autograd keeps for the layers of a Llama-type decoder with fused attention, as
counted under each function. Dropout, expert routing and attention without a fused kernel are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from tuning.recommender.activations import (
    again_bytes,
    final_bytes,
    kept_bytes,
    norm_passing_bytes,
    passing_bytes,
)
from tuning.recommender.model_facts import ModelFacts
from tuning.recommender.shape import Linear, Shape

_TILE_TOKENS = 4096
_TILE_VOCABULARY = 32_768
"""Size of the tiles in which TRL 1.16 computes the loss."""
_CPU_TILE_BYTES = 29
"""Bytes for each logit of a tile beyond the tile where there is no Triton: seven copies in float32 and a mask.

Source: own trace of TRL 1.16's loss on a CPU.
"""
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)
"""Bytes of a weight in nf4: 4 bits, one byte of scale for 64 weights, and four bytes for 256 scales.

Source: Dettmers et al., QLoRA (arXiv 2305.14314), section 3: double quantization.
"""
INT8_BYTES, INT8_SCALE_BYTES = 1, 4
"""Bytes of a weight in int8, and of the float32 scale of each of its rows.

Source: Dettmers et al., LLM.int8() (arXiv 2208.07339), section 3: vector-wise quantization.
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
    gradient_accumulation_steps: int = 1
    optim: str = "adamw_torch_fused"
    load_in_4bit: bool = False
    load_in_8bit: bool = False
    padding: bool = False

    @property
    def is_quantized(self) -> bool:
        """Tell whether the linear layers are held in 4 or 8 bits."""
        return self.load_in_4bit or self.load_in_8bit

    @property
    def has_mask(self) -> bool:
        """Tell whether transformers makes a mask, and repeats keys and values for it: some rows are padded."""
        return self.padding and self.rows > 1

    @property
    def computing(self) -> Step:
        """Return the step as it computes: FSDP gathers float32 weights in half precision where there is autocast."""
        is_cast = self.num_shards > 1 and self.autocast and self.dtype_bytes == 4
        return replace(self, dtype_bytes=2) if is_cast else self

    @property
    def tokens(self) -> int:
        """Return the tokens of one forward pass, padding included."""
        return self.rows * self.length


@dataclass(frozen=True)
class MemoryParts:
    """Bytes that a device holds at the peak of a step, by what they are for."""

    weights: int
    gradients: int
    optimizer: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """Return the peak."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.logits


def estimate_memory(model: ModelFacts, step: Step) -> int | None:
    """Estimate the peak of a step with AdamW, bytes; None where the model's shape is not known."""
    parts = memory_parts(model, step)
    return None if parts is None else parts.total


def memory_parts(model: ModelFacts, step: Step) -> MemoryParts | None:
    """Estimate what a step with AdamW holds at its peak; None where the model's shape is not known."""
    if model.shape is None or not model.num_parameters:
        return None
    sizes = _Sizes(model.shape, step, model.num_parameters)
    return max(_moments(sizes), key=lambda parts: parts.total)


def lora_parameters(shape: Shape, r: int, target_modules: Collection[str] | None = None) -> int:
    """Count the parameters of rank-`r` adapters: r (in + out) for each linear layer that is a target."""
    layers = adapted_layers(shape, target_modules)
    return r * shape.num_hidden_layers * sum(layer.in_features + layer.out_features for layer in layers)


def adapted_layers(shape: Shape, target_modules: Collection[str] | None = None) -> tuple[Linear, ...]:
    """List the layers of a block that get adapters; names that are not known here mean all of them."""
    layers = shape.linear_layers()
    chosen = tuple(layer for layer in layers if target_modules is None or layer.name in target_modules)
    return chosen or layers


@dataclass(frozen=True)
class _Sizes:
    """What the parts of a model and of its step amount to, bytes unless said otherwise."""

    shape: Shape
    step: Step
    num_parameters: int

    @property
    def outside(self) -> int:
        """Count the parameters outside the blocks: embeddings and the head."""
        return self.shape.vocab_size * self.shape.hidden_size * (1 if self.shape.tie_word_embeddings else 2)

    @property
    def linears(self) -> int:
        """Count the parameters of a block."""
        return max(0, self.num_parameters - self.outside) // self.shape.num_hidden_layers

    @property
    def quantized(self) -> int:
        """Count the parameters that bitsandbytes quantizes: linear layers, and no experts that are fused into one.

        Layers that only some models have beside their experts, such as shared ones, count as whole.
        """
        shape = self.shape
        if not shape.num_experts:
            return self.linears * shape.num_hidden_layers
        layers = sum(layer.in_features * layer.out_features for layer in shape.linear_layers())
        return min(layers, self.linears) * shape.num_hidden_layers

    @property
    def adapters(self) -> int:
        return 0 if self.step.r is None else lora_parameters(self.shape, self.step.r, self.step.target_modules)

    @property
    def trained(self) -> int:
        """Return the size of the trained weights, which is that of their gradients."""
        if self.step.r is None:
            return self.num_parameters * self.step.dtype_bytes
        return self.adapters * (2 if self.step.is_quantized else 4)  # TRL casts them beside quantized weights

    @property
    def head(self) -> int:
        """Return the size of the head's gradient."""
        size = self.shape.vocab_size * self.shape.hidden_size * self.step.dtype_bytes
        return size if self.step.r is None else 0

    @property
    def block(self) -> int:
        """Return the size of a block's weights as they are gathered from shards, and of its gradients."""
        return self.linears * self.step.computing.dtype_bytes

    @property
    def copies(self) -> int:
        """Return the size of the half-precision copies that autocast makes of a block's float32 weights."""
        is_copied = self.step.autocast and self.step.dtype_bytes == 4 and self.step.num_shards == 1
        return 2 * self.linears if is_copied else 0


def _moments(sizes: _Sizes) -> Iterator[MemoryParts]:
    """Yield what is held at the loss, in the backward pass of the last and the first block, at its end, and after."""
    shape, step, tokens = sizes.shape, sizes.step.computing, sizes.step.tokens
    layers, head = shape.num_hidden_layers, sizes.head
    block = kept_bytes(shape, step, adapted_layers(shape, step.target_modules)) * tokens
    final, passing = final_bytes(shape, step) * tokens + _mask(step), passing_bytes(shape, step) * tokens
    passing += _dequantized(sizes)
    again = block + again_bytes(shape, step) * tokens + passing + sizes.copies
    if step.gradient_checkpointing:
        held = layers * shape.hidden_size * step.dtype_bytes * tokens + final
        cached = layers * sizes.copies if step.r is None else 0  # autocast keeps copies of trained weights alone
        in_last = held + again
    else:
        held, cached = layers * block + final, layers * sizes.copies
        in_last = held + cached + norm_passing_bytes(shape, step) * tokens
        again = block + passing + sizes.copies
    embeddings = sizes.outside * step.dtype_bytes // (1 if shape.tie_word_embeddings else 2) if step.r is None else 0
    waiting = sizes.trained if step.gradient_accumulation_steps > 1 else 0
    in_first = max(0, sizes.trained - embeddings * (not shape.tie_word_embeddings) - sizes.trained // layers // 2)
    yield _parts(sizes, waiting, held + cached, _logits(shape, step))
    yield _parts(sizes, max(waiting, head), in_last, 0)
    yield _parts(sizes, max(waiting, in_first), again, 0)
    tied = embeddings if shape.tie_word_embeddings or waiting else 0
    yield _parts(sizes, sizes.trained, tied + shape.hidden_size * step.dtype_bytes * tokens, 0)
    yield _parts(sizes, sizes.trained, 0, 0, _foreach(sizes), is_computing=False)


def _parts(
    sizes: _Sizes, gradients: int, activations: int, logits: int, passing: int = 0, is_computing: bool = True
) -> MemoryParts:
    """Put together what one device holds of a moment; `passing` belongs to the optimizer."""
    step, weights, optimizer = sizes.step, _weights(sizes), 2 * sizes.trained + passing
    if step.num_shards == 1:
        buckets = sizes.trained if step.num_replicas > 1 else 0  # DDP's buckets hold the gradients again
        return MemoryParts(weights, gradients + buckets, optimizer, activations, logits)
    share = MemoryParts(weights // step.num_shards, gradients // step.num_shards, optimizer // step.num_shards, 0, 0)
    if not is_computing:
        return share
    gathered = sizes.outside * step.computing.dtype_bytes + 2 * sizes.block
    reduced = sizes.block + 4 * sizes.linears if step.r is None else 8 * sizes.adapters // sizes.shape.num_hidden_layers
    return MemoryParts(share.weights + gathered, share.gradients + reduced, share.optimizer, activations, logits)


def _weights(sizes: _Sizes) -> int:
    step, weights = sizes.step, sizes.num_parameters * sizes.step.dtype_bytes
    if step.load_in_4bit:
        weights -= int((step.dtype_bytes - NF4_BYTES) * sizes.quantized)
    elif step.load_in_8bit:
        rows = sum(layer.out_features for layer in sizes.shape.linear_layers()) * sizes.shape.num_hidden_layers
        weights -= (step.dtype_bytes - INT8_BYTES) * sizes.quantized - INT8_SCALE_BYTES * rows
    return weights + (sizes.trained if step.r is not None else 0)


def _dequantized(sizes: _Sizes) -> int:
    """Return the size of the widest layer in bfloat16, which nf4 and int8 are turned into while they multiply."""
    layers = sizes.shape.linear_layers() if sizes.step.is_quantized else ()
    return max((2 * layer.in_features * layer.out_features for layer in layers), default=0)


def _foreach(sizes: _Sizes) -> int:
    """Return what AdamW needs in passing where it is not fused: a copy of one of its two states."""
    return 0 if sizes.step.optim.endswith("_fused") else sizes.trained


def _mask(step: Step) -> int:
    return step.rows * step.length**2 if step.has_mask else 0


def _logits(shape: Shape, step: Step) -> int:
    """Logits, their softmax and its gradient in float32; in tiles, one tile at a time, and the gradients of the head.

    TRL's tile is as wide as its part of the vocabulary, whatever the model's. It adds gradients up in float32 and casts
    them; without Triton it works on copies of the tile.
    """
    half = step.autocast or step.dtype_bytes == 2
    if step.head == "whole":
        return 12 * shape.vocab_size * step.tokens
    rows, columns = min(step.tokens, _TILE_TOKENS), min(shape.vocab_size, _TILE_VOCABULARY)
    tile = rows * _TILE_VOCABULARY * (2 if half else 4)
    copies = rows * columns * _CPU_TILE_BYTES if step.head == "tiles_on_cpu" else 0
    each = 4 if step.dtype_bytes == 4 else 6
    weight_cast = 4 * columns * shape.hidden_size if step.autocast and step.dtype_bytes == 4 else 0
    trained = shape.vocab_size if step.r is None else 0
    return tile + copies + weight_cast + each * shape.hidden_size * (step.tokens + trained)
