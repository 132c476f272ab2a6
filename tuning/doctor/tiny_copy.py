"""A tiny model of the same architecture: every kind of layer once, small widths, the same rules of computation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SIZES: Mapping[str, int] = {
    **dict.fromkeys(("hidden_size", "n_embd", "d_model"), 64),
    **dict.fromkeys(("num_attention_heads", "n_head", "n_heads"), 4),
    **dict.fromkeys(("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size", "shared_intermediate_size"), 128),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size"), 64),
    **dict.fromkeys(("num_local_experts", "num_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("num_experts_per_tok", "num_experts_per_token"), 2),
    "num_key_value_heads": 2,
    "head_dim": 16,
    "mamba_n_heads": 8,
    "mamba_d_head": 16,
    "mamba_d_state": 16,
    "mamba_chunk_size": 32,
    "image_size": 56,
    "mm_tokens_per_image": 4,
    "sliding_window": 64,
}
"""Field of a configuration -> its size in the copy. Source: our own choice: some 100,000 parameters and the embeddings.

Mamba's widths are those of `mamba_expand` 2: twice the hidden size, in 8 heads.
"""
_NUM_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_FEWEST_LAYERS = 2


def tiny_config(document: Mapping[str, Any], vocab_size: int) -> dict[str, Any]:
    """Shrink a complete configuration, as `to_dict` of its class gives it; `vocab_size` is the tokenizer's.

    Weights in the copy are float32 and not quantized, and nothing is dropped out. Layers that differ in kind, such as
    windowed and full attention or Mamba and attention, stay, each kind once.
    """
    layers = _kept_layers(document)
    tiny = {key: _shrunk(key, value, layers, vocab_size) for key, value in document.items()}
    tiny |= {key: len(layers[1]) for key in _NUM_LAYERS if isinstance(document.get(key), int)}
    if "vocab_size" in document:
        tiny["vocab_size"] = vocab_size
    if document.get("num_key_value_heads") == document.get("num_attention_heads"):
        tiny |= {"num_key_value_heads": _SIZES["num_attention_heads"]} if "num_key_value_heads" in tiny else {}
    for name in ("quantization_config", "auto_map", "_name_or_path"):
        tiny.pop(name, None)
    return {**tiny, "dtype": "float32"}


def _shrunk(key: str, value: Any, layers: tuple[int, list[int]], vocab_size: int) -> Any:
    """Return what a field is in the copy: lists with an entry for each layer lose those that are left out."""
    count, kept = layers
    if isinstance(value, Mapping) and key.endswith("_config"):
        return tiny_config(value, vocab_size)
    if isinstance(value, list) and len(value) == count:
        return [value[index] for index in kept]
    if isinstance(value, int) and not isinstance(value, bool) and value > 0 and key in _SIZES:
        return _SIZES[key]
    if isinstance(value, float) and ("dropout" in key or key.endswith("pdrop")):
        return 0.0
    if key.endswith("_token_id") and isinstance(value, int):
        return value if value < vocab_size else None
    return value


def _kept_layers(document: Mapping[str, Any]) -> tuple[int, list[int]]:
    """Return the number of layers, and which of them stay: the first of each kind, and two at least."""
    count = next((document[key] for key in _NUM_LAYERS if isinstance(document.get(key), int)), 0)
    lists = [value for value in document.values() if isinstance(value, list) and len(value) == count]
    kinds = [repr([each[index] for each in lists]) for index in range(count)]
    first = sorted({kind: index for index, kind in reversed(list(enumerate(kinds)))}.values())
    others = [index for index in range(count) if index not in first]
    return count, sorted([*first, *others[: max(0, _FEWEST_LAYERS - len(first))]])
