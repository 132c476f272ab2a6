"""The weights of a model, one after the other, as GGUF names, turns and quantizes them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tuning.errors import UserError
from tuning.export.gguf_architectures import Architecture, rope_of

if TYPE_CHECKING:
    from torch import Tensor

PERMUTED = ("q_proj.weight", "q_proj.bias", "k_proj.weight", "k_proj.bias")
"""Ends of the names of weights whose rows GGUF has in another order."""
_PLAIN = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""Types that torch has, too: GGUF's name -> torch's."""
_IN_FLOAT32 = ("position_embd.weight",)
"""Weights with two dimensions that readers want in 32 bits all the same."""
_ROWS_JOINED = 8
"""Rows that are quantized as if they were one: gguf takes 16 at a time, and short ones cost it more.

Source: 510 million weights in rows of 1,280 as q8_0: 4.0 CPU s, and 6.1 each row by itself.
"""


@dataclass(frozen=True)
class Weight:
    """One weight: GGUF's name, the tensor of the model, and the type that it is stored in."""

    name: str
    source_name: str
    tensor: Tensor
    kind: str
    """GGUF's name of the type, in capitals."""


def weights_of(model: Any, architecture: Architecture, kind: str) -> list[Weight]:
    """List what is written, the largest first, without copying any of it.

    Readers turn one weight after the other into 32 bits; while they do that to the largest, they hold nothing else yet.

    Raises:
        UserError: a weight has no name in GGUF.
    """
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    number = next(number for number, name in MODEL_ARCH_NAMES.items() if name == architecture.name)
    names = get_tensor_name_map(number, model.config.num_hidden_layers)
    found = []
    for name, tensor in _written(model):
        known = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if known is None:
            raise UserError(f"the weight {name} has no name in gguf's {architecture.name}")
        row_length = int(tensor.shape[0 if is_transposed(name, architecture) else -1])
        is_kept = tensor.ndim < 2 or known in _IN_FLOAT32
        found.append(Weight(known, name, tensor, "F32" if is_kept else _kind(row_length, kind)))
    return sorted(found, key=lambda weight: -weight.tensor.numel())


def _written(model: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the weights; a head that is the embeddings is written once, as them."""
    is_tied = bool(model.config.tie_word_embeddings)
    for name, tensor in model.state_dict().items():
        if not (is_tied and name == "lm_head.weight"):
            yield name, tensor


def _kind(row_length: int, kind: str) -> str:
    """Choose the type of one matrix: rows that are no whole number of blocks become F16, as llama.cpp has it."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    return kind if row_length % GGML_QUANT_SIZES[GGMLQuantizationType[kind]][0] == 0 else "F16"


def is_transposed(name: str, architecture: Architecture) -> bool:
    """Tell whether a weight stands as (in, out) in transformers, and as (out, in) in GGUF."""
    return bool(architecture.transposes) and name.endswith(architecture.transposes)


def stored(weight: Weight, architecture: Architecture, config: Any) -> np.ndarray[Any, Any]:
    """Turn one weight into the array that is written: of its type, or of bytes where numpy has no such type."""
    array = _as_numpy(weight)
    if architecture.permutes_heads and weight.source_name.endswith(PERMUTED):
        heads = "num_attention_heads" if "q_proj" in weight.source_name else "num_key_value_heads"
        array = permuted(array, int(getattr(config, heads)))
    if is_transposed(weight.source_name, architecture):
        array = array.T
    if architecture.norm_offset and weight.source_name.endswith("norm.weight"):
        array = array + np.float32(architecture.norm_offset)
    array = np.ascontiguousarray(array)
    return array if weight.kind in _PLAIN else _quantized(array, weight.kind)


def _quantized(array: np.ndarray[Any, Any], kind: str) -> np.ndarray[Any, Any]:
    """Quantize several rows as one; blocks lie within rows, and stay the same."""
    from gguf import GGMLQuantizationType
    from gguf.quants import quantize

    joined = array.reshape(array.shape[0] // math.gcd(array.shape[0], _ROWS_JOINED), -1)
    return quantize(joined, GGMLQuantizationType[kind]).reshape(array.shape[0], -1)


def _as_numpy(weight: Weight) -> np.ndarray[Any, Any]:
    """Return the numbers in the type that is written, in 32 bits where they are quantized; bfloat16 as its bits."""
    import torch

    narrow = weight.tensor.detach().cpu().to(getattr(torch, _PLAIN.get(weight.kind, "float32")))
    return (narrow.view(torch.int16) if weight.kind == "BF16" else narrow).numpy()


def stored_shape(weight: Weight, architecture: Architecture) -> tuple[tuple[int, ...], type[np.generic]]:
    """Return shape and numpy type of what `stored` will return."""
    from gguf import GGMLQuantizationType
    from gguf.quants import quant_shape_to_byte_shape

    shape = tuple(weight.tensor.shape)
    if is_transposed(weight.source_name, architecture):
        shape = shape[::-1]
    if weight.kind in _PLAIN:
        return shape, {"F32": np.float32, "F16": np.float16, "BF16": np.int16}[weight.kind]
    return quant_shape_to_byte_shape(shape, GGMLQuantizationType[weight.kind]), np.uint8


def permuted(array: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Put the rows of each head's two halves side by side: GGUF rotates neighbours, transformers rotates halves."""
    halves = array.reshape(heads, 2, array.shape[0] // heads // 2, *array.shape[1:])
    return halves.swapaxes(1, 2).reshape(array.shape)


def unpermuted(array: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Undo `permuted`."""
    pairs = array.reshape(heads, array.shape[0] // heads // 2, 2, *array.shape[1:])
    return pairs.swapaxes(1, 2).reshape(array.shape)


def llama3_factors(config: Mapping[str, Any], head_dim: int) -> np.ndarray[Any, Any]:
    """Compute what each frequency of Llama 3's rotary positions is divided by, (head_dim / 2) float32.

    Source: transformers, `_compute_llama3_parameters`: short waves stay, long ones are stretched by the factor, and
    those between are mixed.
    """
    rope = rope_of(config)
    factor, low, high = (float(rope[name]) for name in ("factor", "low_freq_factor", "high_freq_factor"))
    length = float(rope["original_max_position_embeddings"])
    found = []
    for index in range(0, head_dim, 2):
        waves = length * rope["rope_theta"] ** (-index / head_dim) / (2 * math.pi)  # in the trained context
        share = min(1.0, max(0.0, (waves - low) / (high - low)))
        found.append(1 / ((1 - share) / factor + share))
    return np.array(found, dtype=np.float32)
