from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from kernel_families import gradients, joined, labelled, largest_difference, rows, tiny
from torch import Tensor

pytestmark = pytest.mark.slow  # PEFT takes seconds to import

FAMILIES = ["llama", "qwen3", "granite", "gpt2", "mistral", "gemma"]


def adapted(model_type: str = "llama", **settings: Any) -> Any:
    """Put adapters that change something, but not beyond what rounding allows, on every linear layer."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=3, lora_alpha=1, target_modules="all-linear", init_lora_weights=False, **settings)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return get_peft_model(tiny(model_type), config).train()


def fuse(model: Any) -> tuple[int, dict[str, int]]:
    from tuning.acceleration.fused_lora import fuse_lora

    num_fused, others = fuse_lora(model)
    return num_fused, dict(others)


def batch() -> dict[str, Any]:
    return {**joined(rows()), "labels": labelled(rows()), "use_cache": False}


def step(model: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """Return logits and gradients of a training step; dropout draws the same numbers in each."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        found = model(**batch())
        return found.logits.detach(), gradients(model, found.loss)


def assert_same_step(model: Any, wanted: tuple[Tensor, dict[str, Tensor]]) -> None:
    logits, found = step(model)
    torch.testing.assert_close(logits, wanted[0], rtol=1e-5, atol=1e-5)
    assert largest_difference(found, wanted[1]) < 1e-5


@pytest.mark.parametrize("settings", [{}, {"lora_dropout": 0.3, "use_rslora": True}], ids=str)
@pytest.mark.parametrize("model_type", FAMILIES)
def test_logits_and_gradients_are_those_of_peft(model_type: str, settings: dict[str, Any]) -> None:
    model = adapted(model_type, **settings)
    wanted = step(model)
    num_fused, others = fuse(model)
    assert num_fused >= 8
    assert not others
    assert_same_step(model, wanted)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_layers_that_are_computed_again_have_the_same_gradients(use_reentrant: bool) -> None:
    model = adapted()
    wanted = step(model)
    fuse(model)
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
    assert_same_step(model, wanted)


@pytest.mark.parametrize("change", ["eval", "disable_adapter_layers", "merge_adapter"])
def test_calls_that_train_no_adapter_are_those_of_peft(change: str) -> None:
    model = adapted()
    other = copy.deepcopy(model)
    fuse(other)
    for each in (model, other):
        getattr(each, change)()
    ids = joined(rows())["input_ids"]
    torch.testing.assert_close(other(ids).logits, model(ids).logits)


def test_a_second_adapter_takes_the_layers_back_to_peft() -> None:
    from peft import LoraConfig

    model = adapted()
    fuse(model)
    model.add_adapter("second", LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    model.set_adapter("second")
    _, found = step(model)
    assert all("second" in name for name in found)
    assert all(each.any() for each in found.values())


def test_a_copy_trains_its_own_weights() -> None:
    model = adapted()
    fuse(model)
    other = copy.deepcopy(model)
    for name, each in other.named_parameters():
        if "lora_B" in name:
            torch.nn.init.zeros_(each)
    torch.testing.assert_close(step(other)[0], step(tiny("llama"))[0])
    assert not torch.allclose(step(model)[0], step(tiny("llama"))[0])


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"use_dora": True}, "a variant of LoRA"),
        ({"bias": "lora_only"}, "weights or biases beside the adapter are trained"),
        ({"lora_bias": True}, "weights or biases beside the adapter are trained"),
    ],
    ids=str,
)
def test_adapters_that_are_more_than_two_matrices_are_left_to_peft(settings: dict[str, Any], reason: str) -> None:
    assert fuse(adapted("gpt2", **settings)) == (0, {reason: 8})


def test_a_layer_that_somebody_else_takes_part_in_is_left_to_peft() -> None:
    model = adapted()
    for name, layer in model.named_modules():
        if name.endswith("q_proj.base_layer"):
            layer.register_forward_hook(lambda *call: call[-1] * 2)
    assert fuse(model) == (12, {"a layer with a hook or a forward of its own": 2})
    assert fuse(model)[0] == 12


@pytest.mark.parametrize(
    ("mixed_precision", "kind", "told", "num_fused"),
    [
        ("no", "NO", "14 adapters are computed with their layers", 14),
        ("bf16", "NO", "PEFT computes the adapters: mixed precision is bf16", 0),
        ("no", "FSDP", "PEFT computes the adapters: FSDP has the weights of a layer in parts", 0),
    ],
)
def test_the_log_tells_what_is_fused(
    mixed_precision: str, kind: str, told: str, num_fused: int, caplog: pytest.LogCaptureFixture
) -> None:
    from accelerate import DistributedType

    from tuning.acceleration.fused_ops import FusedOpsPlugin

    model = adapted()
    accelerator: Any = SimpleNamespace(mixed_precision=mixed_precision, distributed_type=DistributedType(kind))
    with caplog.at_level("INFO"):
        FusedOpsPlugin({"training.fused_ops_and_kernels": {}}).get_callbacks_and_ready_for_train(model, accelerator)
    assert f"fused_lora: {told}" in caplog.text
    assert sum("forward" in vars(module) for module in model.modules() if hasattr(module, "lora_A")) == num_fused


def test_half_precision_is_left_to_peft() -> None:
    assert fuse(adapted().bfloat16()) == (0, {"not in single precision": 14})


def test_a_step_under_autocast_is_that_of_peft() -> None:
    model = adapted()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        wanted = step(model)
        fuse(model)
        assert_same_step(model, wanted)


def test_what_is_saved_is_what_peft_saves(tmp_path: Any) -> None:
    from safetensors.torch import load_file

    model = adapted()
    model.save_pretrained(tmp_path / "before")
    fuse(model)
    model.save_pretrained(tmp_path / "after")
    before, after = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("before", "after"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    merged = model.merge_and_unload()
    assert not any("lora" in name for name, _ in merged.named_parameters())
