from __future__ import annotations

from typing import Any

import gptq_checkpoints
import pytest
import torch

from tuning.acceleration.gptq_linear import GPTQLinear, unpacked


def layer_and_weight(bits: int, checkpoint_format: str, act_order: bool = True) -> tuple[GPTQLinear, torch.Tensor]:
    torch.manual_seed(1)
    found, dense = gptq_checkpoints.quantize(torch.randn(48, 64), bits, 16, act_order)
    layer = GPTQLinear(64, 48, True, bits, 16, 1 if checkpoint_format == "gptq" else 0)
    tensors = gptq_checkpoints.packed(found, bits, checkpoint_format)
    layer.load_state_dict({**tensors, "bias": torch.randn(48)})
    return layer, dense


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("dim", [0, 1])
def test_what_is_packed_is_unpacked(bits: int, dim: int) -> None:
    values = torch.randint(0, 2**bits, (32, 64), dtype=torch.int32)
    assert torch.equal(unpacked(gptq_checkpoints.pack(values, bits, dim), bits, dim), values)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("checkpoint_format", ["gptq", "gptq_v2"])
@pytest.mark.parametrize("act_order", [False, True])
def test_a_packed_layer_computes_what_its_dense_weight_does(bits: int, checkpoint_format: str, act_order: bool) -> None:
    layer, dense = layer_and_weight(bits, checkpoint_format, act_order)
    torch.testing.assert_close(layer.dequantized(torch.float32), dense.T)
    first, second = (torch.randn(2, 5, 64).requires_grad_() for _ in range(2))
    second.data.copy_(first.data)
    ours, expected = layer(first), torch.nn.functional.linear(second, dense, layer.bias)
    torch.testing.assert_close(ours, expected)
    ours.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(first.grad, second.grad, rtol=1e-4, atol=1e-4)  # sums over threads differ in order


def test_a_zero_point_of_zero_is_read_from_the_format_that_stores_it_less_one() -> None:
    found: dict[str, Any] = {"integers": torch.full((32, 8), 3), "scales": torch.ones(1, 8)}
    found |= {"zeros": torch.zeros(1, 8), "g_idx": torch.zeros(32, dtype=torch.int32)}
    layer = GPTQLinear(32, 8, False, 4, 32, 1)
    layer.load_state_dict(gptq_checkpoints.packed(found, 4, "gptq"))
    assert torch.equal(layer.dequantized(torch.float32), torch.full((32, 8), 3.0))


def test_a_packed_layer_computes_in_the_type_of_autocast() -> None:
    layer, dense = layer_and_weight(4, "gptq")
    rows = torch.randn(3, 64, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(rows)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), rows @ dense.T + layer.bias, rtol=0.05, atol=0.1)
    found.float().sum().backward()
    assert rows.grad is not None and rows.grad.abs().sum() > 0


def test_nothing_of_a_packed_layer_is_trained_and_nothing_can_be_merged_into_it() -> None:
    layer, _ = layer_and_weight(4, "gptq")
    assert not any(parameter.requires_grad for parameter in layer.parameters())
    assert set(layer.state_dict()) == {"qweight", "qzeros", "scales", "g_idx", "bias"} and "bits=4" in repr(layer)
    with pytest.raises(RuntimeError):
        layer.weight.data += torch.ones(layer.weight.shape)
