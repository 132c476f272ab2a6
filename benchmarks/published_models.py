"""The architectures that the shipped configurations train, as the `config.json` files on the Hub have them.

Written down because tests have no network. `NUM_PARAMETERS` are those of transformers' own classes, which a test counts
on torch's meta device.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def _decoder(
    model_type: str, h: int, layers: int, heads: int, kv: int, i: int, vocab: int, positions: int, **fields: Any
) -> dict[str, Any]:
    return {
        "model_type": model_type,
        "hidden_size": h,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv,
        "intermediate_size": i,
        "vocab_size": vocab,
        "max_position_embeddings": positions,
        "tie_word_embeddings": False,
        "dtype": "bfloat16",
        **fields,
    }


_TIED = {"tie_word_embeddings": True}
_GRANITE_LAYERS = [("attention" if number in (5, 15, 25, 35) else "mamba") for number in range(40)]
_GEMMA_LAYERS = ["full_attention" if number % 6 == 5 else "sliding_attention" for number in range(34)]
_GEMMA = {"head_dim": 256, **_TIED}
_SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_attention_heads": 16,
    "num_hidden_layers": 27,
    "image_size": 896,
    "patch_size": 14,
    "vision_use_head": False,
}

PUBLISHED_MODELS: Mapping[str, dict[str, Any]] = {
    "meta-llama/Llama-3.1-8B-Instruct": _decoder("llama", 4096, 32, 32, 8, 14336, 128256, 131072),
    "meta-llama/Llama-3.2-1B-Instruct": _decoder("llama", 2048, 16, 32, 8, 8192, 128256, 131072, head_dim=64, **_TIED),
    "meta-llama/Llama-3.2-3B-Instruct": _decoder("llama", 3072, 28, 24, 8, 8192, 128256, 131072, head_dim=128, **_TIED),
    "Qwen/Qwen3-0.6B": _decoder("qwen3", 1024, 28, 16, 8, 3072, 151936, 40960, head_dim=128, **_TIED),
    "Qwen/Qwen3-4B": _decoder("qwen3", 2560, 36, 32, 8, 9728, 151936, 40960, head_dim=128, **_TIED),
    "Qwen/Qwen3-8B": _decoder("qwen3", 4096, 36, 32, 8, 12288, 151936, 40960, head_dim=128),
    "Qwen/Qwen3-32B": _decoder("qwen3", 5120, 64, 64, 8, 25600, 151936, 40960, head_dim=128),
    "ibm-granite/granite-4.0-micro": _decoder(
        *("granitemoehybrid", 2560, 40, 40, 8, 8192, 100352, 131072),
        **_TIED,
        shared_intermediate_size=8192,
        num_local_experts=0,
        num_experts_per_tok=0,
        layer_types=["attention"] * 40,
        position_embedding_type="rope",
    ),
    "ibm-granite/granite-4.0-h-tiny": _decoder(
        *("granitemoehybrid", 1536, 40, 12, 4, 512, 100352, 131072),
        **_TIED,
        shared_intermediate_size=1024,
        num_local_experts=64,
        num_experts_per_tok=6,
        layer_types=_GRANITE_LAYERS,
        position_embedding_type="nope",
        mamba_n_heads=48,
        mamba_d_head=64,
        mamba_d_state=128,
        mamba_n_groups=1,
        mamba_expand=2,
    ),
    "mistralai/Mistral-7B-Instruct-v0.3": _decoder(
        "mistral", 4096, 32, 32, 8, 14336, 32768, 32768, sliding_window=None
    ),
    "mistralai/Mistral-Small-24B-Instruct-2501": _decoder(
        "mistral", 5120, 40, 32, 8, 32768, 131072, 32768, head_dim=128, sliding_window=None
    ),
    "google/gemma-3-1b-it": _decoder(
        *("gemma3_text", 1152, 26, 4, 1, 6912, 262144, 32768),
        **_GEMMA,
        sliding_window=512,
        layer_types=_GEMMA_LAYERS[:26],
    ),
    "google/gemma-3-4b-it": {
        "model_type": "gemma3",
        "dtype": "bfloat16",
        "mm_tokens_per_image": 256,
        "text_config": _decoder(
            *("gemma3_text", 2560, 34, 8, 4, 10240, 262208, 131072),
            **_GEMMA,
            sliding_window=1024,
            layer_types=_GEMMA_LAYERS,
        ),
        "vision_config": _SIGLIP,
    },
    "HuggingFaceTB/SmolLM2-135M-Instruct": _decoder("llama", 576, 30, 9, 3, 1536, 49152, 8192, **_TIED),
    "HuggingFaceTB/SmolLM3-3B": _decoder(
        "smollm3", 2048, 36, 16, 4, 11008, 128256, 65536, **_TIED, no_rope_layers=[1, 1, 1, 0] * 9
    ),
    "unsloth/gpt-oss-20b-BF16": _decoder(
        *("gpt_oss", 2880, 24, 64, 8, 2880, 201088, 131072),
        head_dim=64,
        num_local_experts=32,
        num_experts_per_tok=4,
        sliding_window=128,
        layer_types=["sliding_attention", "full_attention"] * 12,
    ),
}
"""Hub id -> what its `config.json` says of the architecture."""

NUM_PARAMETERS: Mapping[str, int] = {
    "meta-llama/Llama-3.1-8B-Instruct": 8_030_261_248,
    "meta-llama/Llama-3.2-1B-Instruct": 1_235_814_400,
    "meta-llama/Llama-3.2-3B-Instruct": 3_212_749_824,
    "Qwen/Qwen3-0.6B": 596_049_920,
    "Qwen/Qwen3-4B": 4_022_468_096,
    "Qwen/Qwen3-8B": 8_190_735_360,
    "Qwen/Qwen3-32B": 32_762_123_264,
    "ibm-granite/granite-4.0-micro": 3_402_836_480,
    "ibm-granite/granite-4.0-h-tiny": 6_939_037_248,
    "mistralai/Mistral-7B-Instruct-v0.3": 7_248_023_552,
    "mistralai/Mistral-Small-24B-Instruct-2501": 23_572_403_200,
    "google/gemma-3-1b-it": 999_885_952,
    "google/gemma-3-4b-it": 4_300_079_472,
    "HuggingFaceTB/SmolLM2-135M-Instruct": 134_515_008,
    "HuggingFaceTB/SmolLM3-3B": 3_075_098_624,
    "unsloth/gpt-oss-20b-BF16": 20_914_757_184,
}
"""Hub id -> parameters, those of a vision tower and of all experts included."""
