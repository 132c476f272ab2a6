from __future__ import annotations

import copy
import logging
import math
from typing import Any

import pytest
import torch
from kernel_families import VOCAB_SIZE, gradients, joined, labelled, largest_difference, rows, tiny
from short_runs import losses_of_a_run

from tuning.acceleration.allocator import raise_thresholds
from tuning.acceleration.fused_head import fuse_head, why_not_fusible
from tuning.acceleration.fused_ops import FusedOpsPlugin

FAMILIES = ["llama", "qwen3", "granite", "gpt2", "mistral", "gemma", "gemma2", "cohere", "phi3"]
PATH = "training.fused_ops_and_kernels"


def plugin(**stanza: Any) -> FusedOpsPlugin:
    return FusedOpsPlugin({PATH: stanza})


def batch() -> dict[str, Any]:
    return {**joined(rows()), "labels": labelled(rows()), "use_cache": False}


@pytest.mark.parametrize("model_type", FAMILIES)
def test_loss_and_gradients_are_those_of_the_models_own_loss(model_type: str) -> None:
    model = tiny(model_type).train()
    wanted = model(**batch()).loss
    wanted_gradients = gradients(model, wanted)
    plugin().get_callbacks_and_ready_for_train(model)
    found = model(**batch())
    assert found.logits is None
    torch.testing.assert_close(found.loss, wanted, rtol=1e-5, atol=1e-5)
    assert largest_difference(gradients(model, found.loss), wanted_gradients) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("model_type", FAMILIES)
def test_what_trl_reads_is_what_its_own_head_gives(model_type: str) -> None:
    from trl.trainer.utils import add_fused_lm_head

    model = tiny(model_type).train()
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "is_top1"))
    wanted = model(**batch(), fused_lm_head=True)
    fuse_head(model)
    found = model(**batch(), fused_lm_head=True)
    for name in ("loss", "log_probs", "entropy", "is_top1", "label_mask"):
        torch.testing.assert_close(getattr(found, name), getattr(wanted, name), rtol=1e-5, atol=1e-5)


def test_the_mean_is_over_the_items_that_the_trainer_counts() -> None:
    model = tiny("llama").train()
    wanted = model(**batch(), num_items_in_batch=torch.tensor(50)).loss
    fuse_head(model)
    torch.testing.assert_close(model(**batch(), num_items_in_batch=torch.tensor(50)).loss, wanted)


def test_a_batch_without_labels_gives_gradients_of_zero() -> None:
    model = tiny("llama").train()
    fuse_head(model)
    nothing = {**batch(), "labels": torch.full_like(batch()["labels"], -100)}
    found = model(**nothing)
    assert found.loss.item() == 0
    assert not any(each.any() for each in gradients(model, found.loss).values())


def test_logits_are_still_there_for_evaluation_and_for_losses_of_the_user() -> None:
    model = tiny("llama").train()
    fuse_head(model)
    without_labels = {name: value for name, value in batch().items() if name != "labels"}
    assert model(**without_labels).logits.shape[-1] == model.config.vocab_size
    assert model.eval()(**batch()).logits is not None


@pytest.mark.slow
def test_a_head_that_is_not_trained_gets_no_gradient() -> None:
    from peft import LoraConfig, get_peft_model

    model: Any = get_peft_model(tiny("llama"), LoraConfig(target_modules="all-linear"))
    wanted = gradients(model, model(**batch()).loss)
    plugin().get_callbacks_and_ready_for_train(model)
    assert largest_difference(gradients(model, model(**batch()).loss), wanted) < 1e-5


@pytest.mark.slow
def test_a_head_with_adapters_keeps_its_own_loss(caplog: pytest.LogCaptureFixture) -> None:
    from peft import LoraConfig, get_peft_model

    model: Any = get_peft_model(tiny("llama"), LoraConfig(target_modules=["lm_head"]))
    with caplog.at_level(logging.WARNING):
        plugin().get_callbacks_and_ready_for_train(model)
    assert "its head has adapters" in caplog.text
    assert model(**batch()).logits is not None


def test_a_model_that_changes_its_logits_in_an_unknown_way_keeps_its_own_loss() -> None:
    model = tiny("llama")
    head = model.get_output_embeddings()
    head.register_forward_hook(lambda *call: call[-1] * 3)
    assert why_not_fusible(model) == "it changes its logits in a way that is not known here"


def test_the_loss_can_be_left_as_it_is() -> None:
    model = tiny("llama")
    before = model.forward
    assert plugin(fast_loss=False).get_callbacks_and_ready_for_train(model) == []
    assert model.forward == before


def test_the_keys_of_fms_acceleration_are_known() -> None:
    stanza = {"base_layer": "auto_gptq", "fused_lora": True, "fast_loss": "unsloth", "fast_rms_layernorm": True}
    assert plugin(**stanza).chosen_settings().fast_loss == "unsloth"


def test_the_allocator_takes_the_thresholds_or_is_no_glibc() -> None:
    import platform

    assert raise_thresholds() == (platform.libc_ver()[0] == "glibc")


def test_a_copy_of_the_model_scores_by_itself() -> None:
    model = tiny("llama").train()
    fuse_head(model)
    other = copy.deepcopy(model)
    torch.nn.init.zeros_(other.get_output_embeddings().weight)
    assert other(**batch()).loss.item() == pytest.approx(math.log(VOCAB_SIZE))
    assert not other(joined(rows())["input_ids"]).logits.any()


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"gradient_accumulation_steps": 2}, {"loss_type": "dft"}], ids=str)
@pytest.mark.parametrize("is_lora", [False, True])
def test_ten_steps_have_the_losses_of_padded_training(settings: dict[str, Any], is_lora: bool, tmp_path: Any) -> None:
    wanted = losses_of_a_run(tmp_path / "padded", {}, is_lora, **settings)
    stanzas = {PATH: {}, "training.attention.padding_free": {}}
    found = losses_of_a_run(tmp_path / "fast", stanzas, is_lora, **settings)
    assert len(wanted) == 10
    assert found == pytest.approx(wanted, abs=1e-4)
    assert len(set(wanted)) > 5
