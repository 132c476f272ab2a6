"""How many bytes of a step's tensors one decoder block keeps for each token, and how many it needs in passing.

h: hidden size, q, kv: width of all query heads and of all key heads, i: width of the MLP. `compute` is the size of what
matrices multiply in, `stream` that of the values between the blocks.

Source: own traces of one step under fake tensors (transformers 5.23, PEFT, torch 2.13), solved for h, q, kv and i over
eight shapes of each family; docs/memory.md has the table.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tuning.recommender.shape import GPT2, UNGATED, Linear, Shape

if TYPE_CHECKING:
    from tuning.recommender.memory import Step

_QUERY_NORMS = frozenset({"qwen3", "qwen3_moe", "gemma3_text", "olmo2"})
"""Model types that norm queries and keys."""
_FLOAT32_NORMS = frozenset({"gemma", "gemma2", "gemma3_text"})
"""Model types that scale the normed value in float32, and cast afterwards."""


def compute_bytes(step: Step) -> int:
    """Return the size of what matrices multiply in."""
    return 2 if step.autocast or step.dtype_bytes == 2 else 4


def kept_bytes(shape: Shape, step: Step, adapted: Iterable[Linear]) -> int:
    """Count the bytes for each token that a block keeps for its backward pass."""
    kept = 4 * shape.num_attention_heads + 8 + _norms(shape, step) + _attention(shape, step) + _mlp(shape, step)
    return kept if step.r is None else kept + _adapters(shape, step, tuple(adapted), step.r)


def passing_bytes(shape: Shape, step: Step) -> int:
    """Count the bytes for each token that the backward pass of a block needs at once beyond what it keeps.

    In the MLP: the gradients of its two widest values and of the stream; in a norm: four values in float32.
    """
    mlp = (0 if step.r is not None else step.dtype_bytes) * shape.hidden_size + 2 * compute_bytes(step) * _wide(shape)
    return mlp


def norm_passing_bytes(shape: Shape, step: Step) -> int:
    """Count the bytes for each token that the backward pass needs in a norm that works in float32."""
    return max(passing_bytes(shape, step), 0 if _has_layer_norm(shape) else 16 * shape.hidden_size)


def again_bytes(shape: Shape, step: Step) -> int:
    """Count what a block that is computed again holds for each token beyond what it keeps: copies for its adapters."""
    if step.r is None or not _copies_inputs(step):
        return 0
    h, i = shape.hidden_size, _wide(shape)
    return 10 * h + 2 * i if step.autocast else 12 * h


def final_bytes(shape: Shape, step: Step) -> int:
    """Count the bytes for each token that the last norm and the first block's input keep."""
    h, stream, compute = shape.hidden_size, step.dtype_bytes, compute_bytes(step)
    if step.r is not None:
        return 2 * h if stream == 2 else 4 * h
    return (stream + compute if _has_layer_norm(shape) else 4 + 2 * stream) * h


def _has_layer_norm(shape: Shape) -> bool:
    return shape.model_type in UNGATED


def _copies_inputs(step: Step) -> bool:
    """Tell whether each adapter casts its input for itself: it is in float32, and what comes in is not, or autocast."""
    return compute_bytes(step) == 2 and not step.is_quantized


def _norms(shape: Shape, step: Step) -> int:
    """The input of each norm, in float32 unless it is torch's layer norm; trained, its normed value and its output.

    Under autocast each linear layer casts that output for itself.
    """
    h, stream = shape.hidden_size, step.dtype_bytes
    if _has_layer_norm(shape):
        casts = 2 if step.autocast and stream == 4 else 0
        return 2 * stream * h if step.r is not None else (4 * stream + 2 * casts) * h
    widths = 2 * h + (shape.query_size + shape.key_value_size if shape.model_type in _QUERY_NORMS else 0)
    if step.r is not None:
        return 4 * widths
    normed = 4 if shape.model_type in _FLOAT32_NORMS else stream
    casts = 2 * 5 * h if step.autocast and stream == 4 else 2 * compute_bytes(step) * h
    return (4 + normed) * widths + casts


def _attention(shape: Shape, step: Step) -> int:
    """Queries, keys, values and the output; rotated in float32 under autocast; a mask repeats keys and values."""
    q, kv, compute = shape.query_size, shape.key_value_size, compute_bytes(step)
    kept = compute * (2 * q + 2 * (q if step.has_mask else kv))
    if shape.attention_dropout and step.head == "tiles_on_cpu":  # no fused kernel: scores, mask, and both together
        kept += 3 * compute * shape.num_attention_heads * step.length
    if _has_layer_norm(shape):
        return kept + (2 * step.dtype_bytes * shape.hidden_size if shape.model_type in GPT2 else 0)  # dropout's masks
    if step.autocast and step.dtype_bytes == 4:
        kept += (4 if step.r is not None else 6) * q + 2 * kv
    return kept


def _mlp(shape: Shape, step: Step) -> int:
    """The gate before and after its activation, the other branch and, trained, the product, which is an input.

    GPT-2 writes its activation out, which keeps four values.
    """
    before = 4 if shape.model_type in GPT2 else 1 if shape.model_type in UNGATED else 3
    return compute_bytes(step) * _wide(shape) * (before if step.r is not None else before + 1)


def _wide(shape: Shape) -> int:
    return shape.intermediate_size * (2 if shape.num_experts else 1)  # most routers send a token to two experts or more


def _adapters(shape: Shape, step: Step, adapted: tuple[Linear, ...], r: int) -> int:
    """What the adapters take in, and what they hold between their two matrices.

    PEFT keeps adapters in float32. On a half-precision base each one copies its input, in float32 or, under autocast,
    in half precision. Otherwise layers with the same input share it, and attention's output is kept anyway.
    """
    if _copies_inputs(step):
        each = 2 if step.autocast else 4
        return each * (sum(layer.in_features for layer in adapted) + r * len(adapted))
    names = {layer.name for layer in adapted}
    inputs = [names & {"q_proj", "k_proj", "v_proj", "c_attn"}, names & {"gate_proj", "up_proj", "c_fc", "fc1"}]
    shared = shape.hidden_size * sum(map(bool, inputs))
    product = _wide(shape) if names & {"down_proj", "c_proj", "fc2"} else 0
    return compute_bytes(step) * (shared + product + r * len(adapted))
