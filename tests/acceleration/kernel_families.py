"""Tiny models of many families, rows of mixed lengths, and each row by itself as the reference."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

VOCAB_SIZE = 97
LENGTHS = (7, 3, 12, 1, 9)
_SHAPE = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "sliding_window": 5,
    "use_sliding_window": True,
    "max_window_layers": 0,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 128,
    "resid_pdrop": 0.0,
    "embd_pdrop": 0.0,
    "attn_pdrop": 0.0,
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
"""Windows are shorter than rows; each family reads the names it knows."""


def tiny(model_type: str, **changes: Any) -> Any:
    """Make a model with random weights, always the same ones."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(model_type, **{**_SHAPE, **changes}),
            attn_implementation="eager" if model_type == "gemma2" else "sdpa",  # which caps no scores
            dtype=torch.float32,
        )
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                torch.nn.init.normal_(parameter)  # zeros would hide that a bias is forgotten
    return model


def rows(lengths: tuple[int, ...] = LENGTHS) -> list[Tensor]:
    """Make rows of tokens."""
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(3, VOCAB_SIZE, (length,), generator=generator) for length in lengths]


def joined(parts: list[Tensor]) -> dict[str, Tensor]:
    """Lay rows end to end, with positions that restart."""
    return {
        "input_ids": torch.cat(parts)[None],
        "position_ids": torch.cat([torch.arange(len(part)) for part in parts])[None],
    }


def labelled(parts: list[Tensor]) -> Tensor:
    """Supervise all but the first third of each row, (1, tokens)."""
    return torch.cat(
        [torch.where(torch.arange(len(part)) > len(part) // 3, part, torch.tensor(-100)) for part in parts]
    )[None]


def gradients(model: Any, loss: Tensor) -> dict[str, Tensor]:
    """Return the gradients of a loss by parameter."""
    model.zero_grad()
    loss.backward()
    return {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}


def largest_difference(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> float:
    """Return the largest norm of a difference, relative to the norm of what was wanted.

    Gradients that are zero but for rounding, as those of the biases of keys are, are measured by those of the model.
    """
    assert found.keys() == wanted.keys()
    least = 1e-2 * max(float(each.norm()) for each in wanted.values())
    return max(float((found[name] - wanted[name]).norm() / wanted[name].norm().clamp_min(least)) for name in wanted)
