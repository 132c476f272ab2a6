"""Which models the kernels of this package are right for, and why others are not; read without torch."""

from __future__ import annotations

VARLEN_ATTENTION = frozenset(
    {
        "cohere",
        "gemma",
        "gemma3_text",
        "gpt2",
        "gpt_neox",
        "granite",
        "granitemoe",
        "llama",
        "mistral",
        "mixtral",
        "olmo2",
        "phi3",
        "qwen2",
        "qwen3",
        "qwen3_moe",
        "smollm3",
        "starcoder2",
    }
)
"""`model_type` of models whose logits and gradients a test compares with those of each row by itself."""

_SOFT_CAPPED = "it caps its attention scores softly, which the kernel cannot"
_SINKS = "its attention has sinks, which the kernel does not know"
_STATEFUL = "it carries a state from token to token, which would run over the ends of rows"
_ALIBI = "its distances between tokens are made from the attention mask, not from the positions of tokens"
_REASONS = {
    "bamba": _STATEFUL,
    "bloom": _ALIBI,
    "falcon": _ALIBI,
    "falcon_h1": _STATEFUL,
    "falcon_mamba": _STATEFUL,
    "gemma2": _SOFT_CAPPED,
    "gpt_oss": _SINKS,
    "granitemoehybrid": _STATEFUL,
    "jamba": _STATEFUL,
    "lfm2": _STATEFUL,
    "mamba": _STATEFUL,
    "mamba2": _STATEFUL,
    "mpt": _ALIBI,
    "nemotron_h": _STATEFUL,
    "qwen3_next": _STATEFUL,
    "recurrent_gemma": _STATEFUL,
    "rwkv": _STATEFUL,
    "zamba": _STATEFUL,
    "zamba2": _STATEFUL,
}


def why_no_varlen_attention(model_type: str | None) -> str | None:
    """Return why the variable-length attention is not used for models of a type; None: it is."""
    if model_type in VARLEN_ATTENTION:
        return None
    return _REASONS.get(model_type or "", "it has not been compared with this model's own attention")


def why_no_supervised_loss(model_type: str | None) -> str | None:
    """Return why the loss over supervised tokens is not used for models of a type; None: it is.

    It reads the last hidden states and the head alone, so that it does not matter how the model attends; what it makes
    is compared with the model's own logits before the first step.
    """
    return "it has no head that can be applied to single tokens" if model_type in {"rwkv", "xlnet", "xlm"} else None
