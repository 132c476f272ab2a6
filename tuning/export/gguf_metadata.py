"""What a GGUF file says of a model beside its weights."""

from __future__ import annotations

import logging
from typing import Any

from tuning.export.gguf_architectures import Architecture, rope_of
from tuning.export.gguf_tokenizer import Vocabulary

logger = logging.getLogger(__name__)


def add_model(writer: Any, architecture: Architecture, config: Any, name: str, kind: str) -> None:
    """Tell the shape of the model; `config` is transformers' configuration, `kind` the type of most weights."""
    from gguf import LlamaFileType

    writer.add_type("model")
    writer.add_name(name)
    writer.add_context_length(_context_length(architecture, config))
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(_feed_forward_length(architecture, config))
    writer.add_head_count(config.num_attention_heads)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(getattr(LlamaFileType, "ALL_F32" if kind == "F32" else f"MOSTLY_{kind}"))
    writer.add_quantization_version(2)
    if architecture.name == "gpt2":
        writer.add_layer_norm_eps(config.layer_norm_epsilon)
        return
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_key_length(head_dim(config))
    writer.add_value_length(head_dim(config))
    _add_rope(writer, architecture, config)
    _add_attention(writer, architecture, config)


def head_dim(config: Any) -> int:
    """Return the length of one head, elements."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def _context_length(architecture: Architecture, config: Any) -> int:
    """Return the longest text, tokens; readers of `llama` know no window, so Mistral's text ends where that begins."""
    length = int(config.max_position_embeddings)
    window = getattr(config, "sliding_window", None)
    if architecture.name != "llama" or window is None or window >= length:
        return length
    logger.warning("gguf: readers know no sliding window here, so the context is that window: %d tokens", window)
    return int(window)


def _feed_forward_length(architecture: Architecture, config: Any) -> int:
    if architecture.name == "gpt2":
        return int(config.n_inner or 4 * config.hidden_size)
    return int(config.intermediate_size)


def _add_rope(writer: Any, architecture: Architecture, config: Any) -> None:
    from gguf import RopeScalingType

    document = config.to_dict()
    rope = rope_of(document)
    share = float(rope.get("partial_rotary_factor") or document.get("partial_rotary_factor") or 1.0)
    writer.add_rope_dimension_count(int(head_dim(config) * share))
    writer.add_rope_freq_base(float(rope["rope_theta"]))
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(float(rope["factor"]))
    if architecture.name == "gemma3":
        local = (document.get("rope_parameters") or {}).get("sliding_attention") or {}
        writer.add_rope_freq_base_swa(float(local.get("rope_theta") or 10000.0))
    if architecture.name == "phi3":
        writer.add_rope_scaling_orig_ctx_len(
            int(getattr(config, "original_max_position_embeddings", config.max_position_embeddings))
        )


def _add_attention(writer: Any, architecture: Architecture, config: Any) -> None:
    if architecture.name in ("gemma2", "gemma3", "phi3"):
        writer.add_sliding_window(int(getattr(config, "sliding_window", None) or 0))
    if architecture.name == "gemma2":
        writer.add_attn_logit_softcapping(config.attn_logit_softcapping)
        writer.add_final_logit_softcapping(config.final_logit_softcapping)
    if architecture.name == "granite":
        writer.add_attention_scale(config.attention_multiplier)
        writer.add_embedding_scale(config.embedding_multiplier)
        writer.add_residual_scale(config.residual_multiplier)
        writer.add_logit_scale(config.logits_scaling)


def add_tokenizer(writer: Any, tokenizer: Any, vocabulary: Vocabulary) -> None:
    """Tell the tokens, the special ones among them, and the chat template."""
    writer.add_tokenizer_model(vocabulary.model)
    writer.add_tokenizer_pre(vocabulary.pre)
    writer.add_token_list(vocabulary.tokens)
    if vocabulary.scores:
        writer.add_token_scores(vocabulary.scores)
    writer.add_token_types(vocabulary.types)
    if vocabulary.merges:
        writer.add_token_merges(vocabulary.merges)
    for token, add in (
        (tokenizer.bos_token_id, writer.add_bos_token_id),
        (tokenizer.eos_token_id, writer.add_eos_token_id),
        (tokenizer.unk_token_id, writer.add_unk_token_id),
        (tokenizer.pad_token_id, writer.add_pad_token_id),
    ):
        if token is not None:
            add(token)
    ids = tokenizer("a")["input_ids"]
    writer.add_add_bos_token(ids[0] == tokenizer.bos_token_id)
    writer.add_add_eos_token(ids[-1] == tokenizer.eos_token_id)
    if vocabulary.model == "llama":
        writer.add_add_space_prefix(vocabulary.adds_space)
    if isinstance(tokenizer.chat_template, str):
        writer.add_chat_template(tokenizer.chat_template)
