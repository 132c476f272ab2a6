"""The architectures that can become GGUF: their names, and what of their configuration GGUF has no words for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tuning.errors import Problem

_PATH = "model.model_name_or_path"
_GEMMA_3_PATTERN = 6
"""Every sixth layer of Gemma 3 sees everything; readers of GGUF take that for granted."""
_LARGEST_GEMMAS = {"gemma2": 46, "gemma3": 62}
"""Layers of the 27B models, the only ones whose attention readers scale by hidden size over heads."""


@dataclass(frozen=True)
class Architecture:
    """How one class of transformers stands in GGUF."""

    name: str
    """GGUF's name."""
    activation: str = "silu"
    permutes_heads: bool = False
    """Query and key rows stand in another order, for a rotation of neighbours."""
    norm_offset: float = 0.0
    """Added to the weights of norms, which transformers adds when it computes."""
    transposes: tuple[str, ...] = ()
    """Ends of names of weights that transformers stores as (in, out)."""


ARCHITECTURES: Mapping[str, Architecture] = {
    "Gemma2ForCausalLM": Architecture("gemma2", "gelu_pytorch_tanh", norm_offset=1.0),
    "Gemma3ForCausalLM": Architecture("gemma3", "gelu_pytorch_tanh", norm_offset=1.0),
    "GPT2LMHeadModel": Architecture("gpt2", "gelu_new", transposes=("c_attn.weight", "c_proj.weight", "c_fc.weight")),
    "GraniteForCausalLM": Architecture("granite", permutes_heads=True),
    "LlamaForCausalLM": Architecture("llama", permutes_heads=True),
    "MistralForCausalLM": Architecture("llama", permutes_heads=True),
    "Phi3ForCausalLM": Architecture("phi3"),
    "Qwen2ForCausalLM": Architecture("qwen2"),
    "Qwen3ForCausalLM": Architecture("qwen3"),
}


def unsupported(name: str, config: Mapping[str, Any]) -> Iterator[Problem]:
    """Name what GGUF, or its readers, cannot say of a model; `config` is its config.json."""
    found = ARCHITECTURES.get(name)
    if found is None:
        yield Problem(_PATH, f"gguf takes {', '.join(sorted(ARCHITECTURES))}", name, "the model's config.json")
        return
    activation = config.get("hidden_activation") or config.get("hidden_act") or config.get("activation_function")
    if activation not in (None, found.activation):
        yield Problem(_PATH, f"readers of gguf compute {found.name} with {found.activation}", activation, "config.json")
    for told in (*_rope_problems(config), *_attention_problems(found, config)):
        yield Problem(_PATH, f"gguf cannot say of {found.name}: {told}")


def rope_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return type, theta and factors of the rotary positions, of full attention where there are two kinds."""
    found = config.get("rope_parameters") or config.get("rope_scaling") or {}
    found = found.get("full_attention") or found
    theta = found.get("rope_theta") or config.get("rope_theta") or 10000.0
    kind = found.get("rope_type") or found.get("type") or "default"
    return {**found, "rope_type": kind, "rope_theta": theta}


def _rope_problems(config: Mapping[str, Any]) -> Iterator[str]:
    kind = rope_of(config)["rope_type"]
    if kind not in ("default", "linear", "llama3"):
        yield f"rope_type {kind}"


def _attention_problems(found: Architecture, config: Mapping[str, Any]) -> Iterator[str]:
    if found.name in ("qwen2", "qwen3") and config.get("use_sliding_window"):
        yield "use_sliding_window"
    if config.get("scale_attn_by_inverse_layer_idx"):
        yield "scale_attn_by_inverse_layer_idx"
    if config.get("use_bidirectional_attention"):
        yield "use_bidirectional_attention"
    if found.name == "gpt2" and (config.get("add_cross_attention") or config.get("scale_attn_weights") is False):
        yield "cross attention, or attention that is not scaled"
    if found.name in _LARGEST_GEMMAS:
        yield from _gemma_problems(found.name, config)


def _gemma_problems(name: str, config: Mapping[str, Any]) -> Iterator[str]:
    scalar, layers = config.get("query_pre_attn_scalar", 256), config.get("num_hidden_layers")
    usual = config.get("head_dim", 256)
    if layers == _LARGEST_GEMMAS[name]:
        usual = config.get("hidden_size", 0) / config.get("num_attention_heads", 1)
    if scalar != usual:
        yield f"query_pre_attn_scalar {scalar}, where readers take {usual:g}"
    pattern = _GEMMA_3_PATTERN if name == "gemma3" else 2
    kinds = config.get("layer_types") or []
    if any((kind == "full_attention") != ((number + 1) % pattern == 0) for number, kind in enumerate(kinds)):
        yield f"layer_types other than full attention in every layer of number {pattern}"
    if name == "gemma3" and (config.get("attn_logit_softcapping") or config.get("final_logit_softcapping")):
        yield "soft caps"
