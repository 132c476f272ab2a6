"""Weights of 16 bits compute as if they were of 32, and are of 16 again afterwards."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from peft import LoraConfig, get_peft_model
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from tuning.export import float32
from tuning.export.float32 import computing_in_float32

pytestmark = pytest.mark.slow

SHAPE = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "vocab_size": 50}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1}


def qwen2() -> torch.nn.Module:
    """Linear layers with and without bias, embeddings, norms."""
    return Qwen2ForCausalLM(Qwen2Config(**SHAPE, **HEADS))


def gpt2() -> torch.nn.Module:
    """Layers that are no Linear, and a head that is the embeddings."""
    return GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=32, vocab_size=50))


def gemma3() -> torch.nn.Module:
    """Embeddings of a class of their own, which scale what they look up, and a head that is they."""
    return Gemma3ForCausalLM(Gemma3TextConfig(**SHAPE, **HEADS, head_dim=8))


def trained_tokens() -> torch.nn.Module:
    """A layer that computes with the weights of its base and does not call it."""
    adapted = LoraConfig(r=2, target_modules="all-linear", trainable_token_indices=[5, 7])
    return get_peft_model(gemma3(), adapted)


def hooked() -> torch.nn.Module:
    """A Linear layer whose forward accelerate has taken over."""
    model = qwen2()
    add_hook_to_module(model.lm_head, ModelHook())
    return model


Make = Callable[[], torch.nn.Module]


def narrowed(model: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    """Make all weights smaller but for those of adapters, which PEFT keeps in 32 bits."""
    for name, parameter in model.named_parameters():
        if "lora_" not in name and "trainable_tokens" not in name:
            parameter.data = parameter.data.to(dtype)
    return model


def random_weights(model: torch.nn.Module) -> torch.nn.Module:
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.1, 0.3)
    return model.eval()


def assert_untouched(model: torch.nn.Module, before: dict[str, torch.Tensor], forwards: int = 0) -> None:
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert sum("forward" in vars(module) for module in model.modules()) == forwards


@pytest.mark.parametrize("make", [qwen2, gpt2, gemma3, trained_tokens, hooked])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_computes_what_widened_weights_compute(make: Make, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(float32, "_SLICE", 64)  # many slices, the last of them shorter
    narrow = narrowed(random_weights(make()), dtype)
    before, wide = copy.deepcopy(narrow.state_dict()), copy.deepcopy(narrow).float()
    ids = torch.arange(20).reshape(2, 10)

    with torch.no_grad(), computing_in_float32(narrow):
        found = narrow(input_ids=ids).logits
    with torch.no_grad():
        expected = wide(input_ids=ids).logits

    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert_untouched(narrow, before, forwards=1 if make is hooked else 0)


@pytest.mark.parametrize("make", [qwen2, gemma3])
def test_a_failure_leaves_the_model_as_it_was(make: Make) -> None:
    model = narrowed(random_weights(make()), torch.bfloat16)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(IndexError), computing_in_float32(model):
        model(input_ids=torch.tensor([[50]]))
    assert_untouched(model, before)


def test_the_type_and_device_are_those_of_what_comes_in() -> None:
    layer = torch.nn.Linear(4, 3, dtype=torch.bfloat16, device="meta")
    with computing_in_float32(layer):
        found = layer(torch.empty(2, 4, device="meta"))
    assert (found.device.type, found.dtype, found.shape) == ("meta", torch.float32, (2, 3))


def test_weights_of_32_bits_are_left_alone() -> None:
    model = qwen2()
    before = copy.deepcopy(model.state_dict())
    with computing_in_float32(model):
        assert_untouched(model, before)
