"""Weights of 16 bits compute as if they were of 32, and are of 16 again afterwards."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Qwen2Config, Qwen2ForCausalLM

from tuning.export import float32
from tuning.export.float32 import computing_in_float32

Make = Callable[[], torch.nn.Module]


def _qwen2() -> torch.nn.Module:
    """Linear layers with and without bias, embeddings, norms."""
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1}
    return Qwen2ForCausalLM(
        Qwen2Config(hidden_size=16, intermediate_size=24, num_hidden_layers=2, vocab_size=50, **heads)
    )


def _gpt2() -> torch.nn.Module:
    """Layers that are no Linear, and a head that is the embeddings."""
    return GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=32, vocab_size=50))


@pytest.mark.parametrize("make", [_qwen2, _gpt2])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_computes_what_widened_weights_compute(make: Make, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(float32, "_SLICE", 64)  # many slices, the last of them shorter
    narrow = make().eval().to(dtype)
    for parameter in narrow.parameters():
        torch.nn.init.normal_(parameter, 0.1, 0.3)
    wide = copy.deepcopy(narrow).float()
    ids = torch.arange(20).reshape(2, 10)

    with torch.no_grad(), computing_in_float32(narrow):
        found = narrow(input_ids=ids).logits
    with torch.no_grad():
        expected = wide(input_ids=ids).logits

    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("make", [_qwen2, _gpt2])
def test_leaves_the_model_as_it_was(make: Make) -> None:
    model = make().eval().bfloat16()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    with pytest.raises(IndexError), computing_in_float32(model):
        model(input_ids=torch.tensor([[50]]))

    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) and after[name].dtype == torch.bfloat16 for name in before)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert not any("forward" in vars(module) for module in model.modules())


def test_weights_of_32_bits_are_left_alone() -> None:
    model = _qwen2().eval()
    with computing_in_float32(model):
        assert not any(module._forward_hooks or "forward" in vars(module) for module in model.modules())
