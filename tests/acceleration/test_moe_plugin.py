from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tuning.acceleration.moe_plugin import PATH, PATH_OF_FMS, MoePlugin, MoeSettings
from tuning.errors import UserError

SIZES = {
    **{"vocab_size": 100, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1},
    **{"num_attention_heads": 2, "num_key_value_heads": 2, "num_experts_per_tok": 2},
}


def mixture(kind: str) -> Any:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    own = {"num_experts": 4, "moe_intermediate_size": 32, "head_dim": 16} if kind == "qwen3_moe" else {}
    config = AutoConfig.for_model(kind, **SIZES, **own or {"num_local_experts": 4})
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config)


def augmented(model: Any, folder: Path, peft_config: Any = None, **stanza: Any) -> Any:
    from transformers import TrainingArguments

    args = TrainingArguments(output_dir=str(folder), use_cpu=True, report_to="none")
    return MoePlugin({PATH: stanza}).augmentation(model, args, (peft_config,))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mixtral", "qwen3_moe", "granitemoe"])
def test_experts_get_adapters_where_every_linear_layer_does(tmp_path: Path, kind: str) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    asked = LoraConfig(r=2, target_modules="all-linear", lora_dropout=0.1, task_type="CAUSAL_LM")
    model, (lora,) = augmented(mixture(kind), tmp_path, asked)
    adapted = get_peft_model(model, lora)
    tokens = torch.arange(5, 25)[None]
    adapted(tokens, labels=tokens).loss.backward()
    gradients = {name: each.grad for name, each in adapted.named_parameters() if each.requires_grad}
    experts = {name: gradient for name, gradient in gradients.items() if ".experts." in name and "lora_B" in name}
    assert len(experts) == 2 and all(each.abs().sum() > 0 for each in experts.values())
    assert any("q_proj" in name for name in gradients)


@pytest.mark.parametrize("chosen", ["grouped_mm", "batched_mm"])
def test_experts_compute_the_same_in_every_way(tmp_path: Path, chosen: str) -> None:
    import torch

    tokens, found = torch.arange(5, 25)[None], []
    for each in ("eager", chosen):
        model, _ = augmented(mixture("mixtral"), tmp_path, experts_implementation=each)
        assert model.config._experts_implementation == each
        model(tokens, labels=tokens).loss.backward()
        found.append((model(tokens).logits, {name: part.grad for name, part in model.named_parameters()}))
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_targets_that_somebody_chose_are_left(tmp_path: Path) -> None:
    from peft import LoraConfig

    chosen = LoraConfig(target_modules=["q_proj"], lora_dropout=0.1)
    _, (found,) = augmented(mixture("mixtral"), tmp_path, chosen)
    assert found.target_parameters is None and found.lora_dropout == 0.1


@pytest.mark.slow
def test_adapters_that_are_there_already_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(mixture("mixtral"), LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM"))
    with caplog.at_level(logging.WARNING):
        found, others = augmented(adapted, tmp_path)
    assert found is adapted and others == (None,) and "were there already" in caplog.text


def test_a_model_without_experts_is_refused(tiny_config_only_model: Path, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tiny_config_only_model))
    with pytest.raises(UserError, match="LlamaForCausalLM has no fused experts; leave the stanza out"):
        augmented(model, tmp_path)


def test_experts_are_not_spread_over_processes() -> None:
    assert MoePlugin({PATH_OF_FMS: {"ep_degree": 1}}).chosen_settings().experts_implementation == "grouped_mm"
    with pytest.raises(ValidationError, match="cannot be spread over processes here; set 1"):
        MoeSettings.model_validate({"ep_degree": 2})
