"""Tiny models of every family that can become GGUF, and adapters on them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 3,
    "tie_word_embeddings": False,
}
GEMMA = {"tie_word_embeddings": True, "head_dim": 16, "sliding_window": 128, "query_pre_attn_scalar": 16}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", SHAPE),
    "llama_tied": ("LlamaConfig", SHAPE | {"tie_word_embeddings": True, "attention_bias": True}),
    "qwen2": ("Qwen2Config", SHAPE),
    "qwen3": ("Qwen3Config", SHAPE | {"head_dim": 16}),
    "mistral": ("MistralConfig", SHAPE | {"sliding_window": 128}),
    "granite": (
        "GraniteConfig",
        SHAPE | {"embedding_multiplier": 2.0, "residual_multiplier": 0.5, "attention_multiplier": 0.2},
    ),
    "gemma2": ("Gemma2Config", SHAPE | GEMMA),
    "gemma3": ("Gemma3TextConfig", SHAPE | GEMMA | {"num_hidden_layers": 6}),
    "phi3": ("Phi3Config", SHAPE),
    "gpt2": (
        "GPT2Config",
        {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256, "bos_token_id": 1, "eos_token_id": 2},
    ),
}
MakeModel = Callable[..., Path]


def make_model(name: str, changes: dict[str, Any], tokenizer: Path, folder: Path) -> Path:
    import torch
    import transformers

    kind, fields = FAMILIES[name]
    shutil.copytree(tokenizer, folder)
    vocab_size = transformers.AutoConfig.from_pretrained(tokenizer).vocab_size
    config = getattr(transformers, kind)(**{**fields, "vocab_size": vocab_size, **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config)
        for parameter_name, parameter in model.named_parameters():
            mean = 1.0 if parameter.ndim == 1 and "norm" in parameter_name and "gemma" not in name else 0.0
            torch.nn.init.normal_(parameter, mean, 0.3 if parameter.ndim == 1 else 0.12)
    model.to(getattr(torch, changes.get("dtype", "float32"))).save_pretrained(folder)
    return folder


def make_adapter(base: Path, new_tokens: int, fields: dict[str, Any], folder: Path) -> Path:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.add_special_tokens({"additional_special_tokens": [f"<new{number}>" for number in range(new_tokens)]})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_pretrained(base)
        model.resize_token_embeddings(len(tokenizer))
        made = get_peft_model(model, LoraConfig(r=4, task_type="CAUSAL_LM", target_modules="all-linear", **fields))
        for name, parameter in made.named_parameters():
            if "lora_A" in name or "lora_B" in name:
                torch.nn.init.normal_(parameter, 0, 0.1)
            elif parameter.requires_grad:  # magnitudes, whole embeddings and rows of them begin as the base's
                learnt = parameter.data[len(tokenizer) - new_tokens :] if "modules_to_save" in name else parameter.data
                learnt *= 1 + 0.3 * torch.randn_like(learnt)
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
