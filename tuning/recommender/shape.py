"""The sizes of a decoder, and what follows from them: its linear layers and its number of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_NAMES: Mapping[str, tuple[str, ...]] = {
    "hidden_size": ("hidden_size", "n_embd", "d_model"),
    "num_hidden_layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "num_attention_heads": ("num_attention_heads", "n_head", "n_heads", "num_heads"),
    "num_key_value_heads": ("num_key_value_heads", "num_kv_heads"),
    "head_dim": ("head_dim",),
    "intermediate_size": ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size"),
    "vocab_size": ("vocab_size",),
    "max_position_embeddings": (
        "max_position_embeddings",
        "n_positions",
        "max_sequence_length",
        "n_ctx",
        "max_seq_len",
    ),
    "num_experts": ("num_local_experts", "num_experts", "n_routed_experts"),
    "moe_intermediate_size": ("moe_intermediate_size",),
}
"""Names that model types use for the same thing."""

GPT2 = frozenset({"gpt2", "gpt_bigcode"})
_LARGEST_SIZE = 1 << 32
MOST_PARAMETERS = 1 << 60
"""Beyond these, a size or a number of parameters is a mistake: it counts as unknown."""
LEARNED_POSITIONS = GPT2 | {"gpt_neo", "opt", "biogpt"}
UNGATED = LEARNED_POSITIONS | {
    *("gpt_neox", "gptj", "bloom", "falcon", "phi", "codegen", "mpt", "starcoder2", "nemotron", "xglm")
}
"""Model types whose MLP has two matrices; newer ones have three."""
_TIED = LEARNED_POSITIONS | {"bloom", "falcon", "mpt", "gemma", "gemma2", "gemma3_text", "cohere"}
"""Model types that share input and output embeddings unless their configuration says otherwise."""
_QUERY_BIASES = frozenset({"qwen2", "qwen2_moe"})


@dataclass(frozen=True)
class Linear:
    """One linear layer that every decoder block has, with its name without the path."""

    name: str
    in_features: int
    out_features: int


@dataclass(frozen=True)
class Shape:
    """The sizes of a decoder; `num_experts` 0 means one MLP for all tokens."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    num_experts: int = 0
    moe_intermediate_size: int = 0
    max_position_embeddings: int = 0
    tie_word_embeddings: bool = False
    model_type: str = ""
    attention_dropout: float = 0.0

    @property
    def query_size(self) -> int:
        """Return the width of all query heads together."""
        return self.num_attention_heads * self.head_dim

    @property
    def key_value_size(self) -> int:
        """Return the width of all key heads together, which is also that of the values."""
        return self.num_key_value_heads * self.head_dim

    def linear_layers(self) -> tuple[Linear, ...]:
        """List the linear layers of one block that can get adapters; experts are fused, and left out."""
        h, q, kv = self.hidden_size, self.query_size, self.key_value_size
        attention = (Linear("q_proj", h, q), Linear("k_proj", h, kv), Linear("v_proj", h, kv), Linear("o_proj", q, h))
        if self.model_type in GPT2:
            attention = (Linear("c_attn", h, q + 2 * kv), Linear("c_proj", q, h))
        return attention if self.num_experts else (*attention, *self._mlp())

    def num_parameters(self) -> int:
        """Count the parameters: exact for Llama, Mistral, Qwen2 and GPT-2, near for other decoders."""
        h, ungated = self.hidden_size, self.model_type in UNGATED
        embeddings = self.vocab_size * h * (1 if self.tie_word_embeddings else 2)
        positions = self.max_position_embeddings * h if self.model_type in LEARNED_POSITIONS else 0
        linears = sum(layer.in_features * layer.out_features for layer in self.linear_layers())
        norms = 2 * h * (2 if ungated else 1)
        block = linears + self._experts() + self._biases() + norms
        return embeddings + positions + self.num_hidden_layers * block + norms // 2

    def _mlp(self) -> tuple[Linear, ...]:
        h, i = self.hidden_size, self.intermediate_size
        if self.model_type in GPT2:
            return Linear("c_fc", h, i), Linear("c_proj", i, h)
        if self.model_type in UNGATED:
            return Linear("fc1", h, i), Linear("fc2", i, h)
        return Linear("gate_proj", h, i), Linear("up_proj", h, i), Linear("down_proj", i, h)

    def _biases(self) -> int:
        if self.model_type in _QUERY_BIASES:
            return self.query_size + 2 * self.key_value_size
        return sum(layer.out_features for layer in self.linear_layers()) if self.model_type in UNGATED else 0

    def _experts(self) -> int:
        each = 3 * self.hidden_size * (self.moe_intermediate_size or self.intermediate_size)
        return self.num_experts * (each + self.hidden_size)


def read_shape(config: Mapping[str, Any]) -> Shape | None:
    """Read the sizes from a model's `config.json`; None where one that is needed is missing."""
    sizes = {name: first_size(config, keys) for name, keys in _NAMES.items()}
    h, heads, layers, vocab = (
        sizes[name] for name in ("hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size")
    )
    if h is None or heads is None or layers is None or vocab is None:
        return None
    model_type = str(config.get("model_type", ""))
    return Shape(
        hidden_size=h,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=sizes["num_key_value_heads"] or heads,
        head_dim=sizes["head_dim"] or max(1, h // heads),
        intermediate_size=sizes["intermediate_size"] or 4 * h,
        vocab_size=vocab,
        num_experts=sizes["num_experts"] or 0,
        moe_intermediate_size=sizes["moe_intermediate_size"] or 0,
        max_position_embeddings=sizes["max_position_embeddings"] or 0,
        tie_word_embeddings=bool(config.get("tie_word_embeddings", model_type in _TIED)),
        model_type=model_type,
        attention_dropout=_attention_dropout(config, model_type),
    )


def _attention_dropout(config: Mapping[str, Any], model_type: str) -> float:
    """Read the dropout of the attention scores; GPT-2 has some unless its configuration says otherwise."""
    given = config.get("attention_dropout", config.get("attn_pdrop", 0.1 if model_type in GPT2 else 0.0))
    return float(given) if isinstance(given, (int, float)) and not isinstance(given, bool) else 0.0


def most_positions(config: Mapping[str, Any]) -> int | None:
    """Read how many positions a model takes."""
    return first_size(config, _NAMES["max_position_embeddings"])


def first_size(config: Mapping[str, Any], keys: tuple[str, ...]) -> int | None:
    """Return the first positive whole number under one of the keys that a model could have as a size."""
    for key in keys:
        value = config.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LARGEST_SIZE:
            return value
    return None
