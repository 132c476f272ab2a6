"""What torch's operations are in TensorFlow; each function gets the package, the type of its result, and torch's words.

The package comes as an argument because it is imported where a model is written, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tuning.errors import UserError

_END = 2**63 - 1
"""Where torch's slices end that have no end."""


def _elementwise(name: str) -> Callable[..., Any]:
    """Compute with the function of this name on arguments that have the type of the result."""

    def compute(tf: Any, dtype: Any, *args: Any) -> Any:
        return getattr(tf.math, name)(*(tf.cast(arg, dtype) for arg in args))

    return compute


def _comparison(name: str) -> Callable[..., Any]:
    return lambda tf, dtype, one, two: getattr(tf.math, name)(one, two)


def _same(tf: Any, dtype: Any, tensor: Any, *_: Any, **__: Any) -> Any:
    return tensor


def _cast(tf: Any, dtype: Any, tensor: Any, *_: Any, **__: Any) -> Any:
    return tf.cast(tensor, dtype)


def _sizes(tf: Any, sizes: Sequence[Any]) -> Any:
    return tf.stack([tf.cast(size, tf.int64) for size in sizes]) if sizes else tf.zeros([0], tf.int64)


def _reshape(tf: Any, dtype: Any, tensor: Any, sizes: Sequence[Any]) -> Any:
    return tf.reshape(tensor, _sizes(tf, sizes))


def _expand(tf: Any, dtype: Any, tensor: Any, sizes: Sequence[Any]) -> Any:
    own = tf.shape(tensor, tf.int64)
    first = len(sizes) - len(tensor.shape)
    kept = [own[number - first] if isinstance(size, int) and size == -1 else size for number, size in enumerate(sizes)]
    return tf.broadcast_to(tensor, _sizes(tf, kept))


def _transpose(tf: Any, dtype: Any, tensor: Any, one: int, two: int) -> Any:
    order = list(range(len(tensor.shape)))
    order[one], order[two] = order[two], order[one]
    return tf.transpose(tensor, order)


def _slice(tf: Any, dtype: Any, tensor: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    end = None if isinstance(end, int) and end == _END else end
    parts = [slice(None)] * len(tensor.shape)
    parts[dim] = slice(start, end, step)
    return tensor[tuple(parts)]


def _split(tf: Any, dtype: Any, tensor: Any, size: int | Sequence[int], dim: int = 0) -> Any:
    if isinstance(size, int):
        length = int(tensor.shape[dim])
        size = [min(size, length - start) for start in range(0, length, size)]
    return tf.split(tensor, list(size), dim)


def _chunk(tf: Any, dtype: Any, tensor: Any, chunks: int, dim: int = 0) -> Any:
    return _split(tf, dtype, tensor, -(-int(tensor.shape[dim]) // chunks), dim)


def _index(tf: Any, dtype: Any, tensor: Any, indices: Sequence[Any]) -> Any:
    """Take single elements, by one tensor of positions for each dimension."""
    if len(indices) != len(tensor.shape) or any(index is None for index in indices):
        raise UserError("tensorflow: no operation is known here for an index that leaves dimensions out")
    nothing = sum(tf.zeros_like(index) for index in indices)
    return tf.gather_nd(tensor, tf.stack([index + nothing for index in indices], -1))


def _arange(tf: Any, dtype: Any, *limits: Any, **_: Any) -> Any:
    return tf.cast(tf.range(*(tf.cast(limit, tf.int64) for limit in limits)), dtype)


def _full(tf: Any, dtype: Any, sizes: Sequence[Any], value: Any, **_: Any) -> Any:
    return tf.fill(_sizes(tf, sizes), tf.cast(value, dtype))


def _mean(tf: Any, dtype: Any, tensor: Any, dims: Sequence[int], keepdim: bool = False, **_: Any) -> Any:
    return tf.reduce_mean(tf.cast(tensor, dtype), dims, keepdim)


def _linear(tf: Any, dtype: Any, tensor: Any, weight: Any, bias: Any = None) -> Any:
    found = tf.matmul(tensor, weight, transpose_b=True)
    return found if bias is None else found + bias


def _layer_norm(tf: Any, dtype: Any, tensor: Any, sizes: Sequence[int], weight: Any, bias: Any, eps: float) -> Any:
    mean, variance = tf.nn.moments(tensor, [-1 - number for number in range(len(sizes))], keepdims=True)
    return (tensor - mean) * tf.math.rsqrt(variance + eps) * weight + bias


def _attention(
    tf: Any,
    dtype: Any,
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """Attend; a row that may see nothing, which padding is, sees everything alike, and nobody looks at it."""
    if enable_gqa:
        times = int(query.shape[1]) // int(key.shape[1])
        key, value = tf.repeat(key, times, axis=1), tf.repeat(value, times, axis=1)
    scores = tf.matmul(query, key, transpose_b=True) * (scale or int(query.shape[-1]) ** -0.5)
    if is_causal:
        attn_mask = tf.linalg.band_part(tf.ones_like(scores), -1, 0) > 0
    if attn_mask is not None:
        scores = tf.where(attn_mask, scores, dtype.min) if attn_mask.dtype == tf.bool else scores + attn_mask
    return tf.matmul(tf.nn.softmax(scores), value)


OPERATIONS: Mapping[str, Callable[..., Any]] = {
    **{name: _elementwise(name) for name in ("rsqrt", "cos", "sin", "tanh", "exp", "sigmoid", "pow", "sqrt", "abs")},
    **{"add": _elementwise("add"), "sub": _elementwise("subtract"), "mul": _elementwise("multiply")},
    **{"div": _elementwise("divide"), "neg": _elementwise("negative")},
    **{"le": _comparison("less_equal"), "lt": _comparison("less"), "ge": _comparison("greater_equal")},
    **{"gt": _comparison("greater"), "eq": _comparison("equal"), "ne": _comparison("not_equal")},
    **{name: _comparison("logical_and") for name in ("__and__", "bitwise_and", "logical_and")},
    **dict.fromkeys(("alias", "clone", "contiguous", "detach", "dropout"), _same),
    **dict.fromkeys(("to", "type_as", "_to_copy"), _cast),
    **dict.fromkeys(("view", "reshape"), _reshape),
    **dict.fromkeys(("split", "split_with_sizes"), _split),
    "addmm": lambda tf, dtype, bias, one, two: tf.matmul(one, two) + bias,
    "arange": _arange,
    "cat": lambda tf, dtype, tensors, dim=0: tf.concat([tf.cast(tensor, dtype) for tensor in tensors], dim),
    "chunk": _chunk,
    "embedding": lambda tf, dtype, weight, ids, *_: tf.gather(weight, ids),
    "expand": _expand,
    "full": _full,
    "gelu": lambda tf, dtype, tensor, approximate="none": tf.nn.gelu(tensor, approximate == "tanh"),
    "index": _index,
    "layer_norm": lambda tf, dtype, tensor, *args: _layer_norm(tf, dtype, tensor, *args[:4]),
    "linear": _linear,
    "matmul": lambda tf, dtype, one, two: tf.matmul(one, two),
    "mean": _mean,
    "new_ones": lambda tf, dtype, tensor, sizes, **_: _full(tf, dtype, sizes, 1),
    "permute": lambda tf, dtype, tensor, dims: tf.transpose(tensor, dims),
    "scaled_dot_product_attention": _attention,
    "silu": lambda tf, dtype, tensor: tf.nn.silu(tensor),
    "slice": _slice,
    "softmax": lambda tf, dtype, tensor, dim, *_: tf.nn.softmax(tf.cast(tensor, dtype), dim),
    "sym_size": lambda tf, dtype, tensor, dim: tf.shape(tensor, tf.int64)[dim],
    "transpose": _transpose,
    "unsqueeze": lambda tf, dtype, tensor, dim: tf.expand_dims(tensor, dim),
    "where": lambda tf, dtype, condition, one, two: tf.where(condition, tf.cast(one, dtype), tf.cast(two, dtype)),
    "zeros": lambda tf, dtype, sizes, **_: _full(tf, dtype, sizes, 0),
}
"""By torch's name: those that the architectures of `gguf_architectures.ARCHITECTURES` compute with."""
