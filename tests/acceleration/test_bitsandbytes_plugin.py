from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tuning.acceleration.bitsandbytes_plugin import PATH, BitsAndBytesPlugin, BitsAndBytesSettings
from tuning.errors import UserError


def plugin(**stanza: Any) -> BitsAndBytesPlugin:
    return BitsAndBytesPlugin({PATH: stanza})


def arguments(folder: Path, **chosen: Any) -> Any:
    from transformers import TrainingArguments

    return TrainingArguments(output_dir=str(folder), report_to="none", use_cpu=True, disable_tqdm=True, **chosen)


def lora() -> Any:
    from peft import LoraConfig

    return LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")


@pytest.mark.slow
@pytest.mark.parametrize("stanza", [{}, {"quant_type": "fp4"}, {"quant_type": "int8"}])
def test_adapters_on_quantized_weights_learn_with_a_plain_trainer(
    tiny_model: Path, tmp_path: Path, stanza: dict[str, Any]
) -> None:
    from transformers import Trainer

    chosen = plugin(**stanza)
    args = arguments(tmp_path, max_steps=6, logging_steps=1, learning_rate=0.02, save_strategy="no")
    model, (left,) = chosen.augmentation(chosen.model_loader(str(tiny_model), dtype="float32"), args, (lora(),))
    rows: Any = [{"input_ids": list(range(5, 30)), "labels": list(range(5, 30))}] * 16
    trainer = Trainer(model, args, train_dataset=rows, eval_dataset=rows[:2])
    trainer.evaluate()  # after which a CPU with AVX-512 BF16 would drop gradients
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert left is None and losses[-1] < losses[0] - 0.1


@pytest.mark.slow
def test_weights_are_stored_as_the_stanza_says(tiny_model: Path) -> None:
    stanza = {"quant_type": "fp4", "bnb_4bit_use_double_quant": False, "bnb_4bit_compute_dtype": "bfloat16"}
    model: Any = plugin(**stanza).model_loader(str(tiny_model), dtype="float32")
    found = model.config.quantization_config
    layers = [module for module in model.modules() if type(module).__name__ == "Linear4bit"]
    assert len(layers) == 14 and not any(layer.support_avx512bf16_for_cpu for layer in layers)
    assert (found.bnb_4bit_quant_type, found.bnb_4bit_use_double_quant) == ("fp4", False)
    assert str(found.bnb_4bit_compute_dtype) == "torch.bfloat16"
    assert {layer.weight.quant_state.quant_type for layer in layers} == {"fp4"}


@pytest.mark.slow
def test_checkpointed_blocks_pass_gradients_on_to_the_adapters(tiny_model: Path, tmp_path: Path) -> None:
    import torch

    chosen = plugin()
    args = arguments(tmp_path, gradient_checkpointing=True)
    model, _ = chosen.augmentation(chosen.model_loader(str(tiny_model), dtype="float32"), args, (lora(),))
    model.gradient_checkpointing_enable({"use_reentrant": True})
    tokens = torch.arange(5, 25)[None]
    model.train()(tokens, labels=tokens).loss.backward()
    gradients = [each.grad for name, each in model.named_parameters() if "lora_B" in name]
    assert len(gradients) == 14 and all(each is not None and each.abs().sum() > 0 for each in gradients)


def test_the_trainer_makes_the_adapters_on_request() -> None:
    assert plugin().requires_augmentation and not plugin(no_peft_model=True).requires_augmentation
    assert plugin(no_peft_model=True).requires_custom_loading


@pytest.mark.parametrize(
    ("stanza", "told"),
    [
        ({"quant_type": "int4"}, "'nf4', 'fp4' or 'int8'"),
        ({"quant_type": "int8", "bnb_4bit_use_double_quant": True}, "is for 4-bit weights, and quant_type is int8"),
        ({"double_quant": True}, "Extra inputs are not permitted"),
    ],
)
def test_a_stanza_that_cannot_be_is_refused(stanza: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        BitsAndBytesSettings.model_validate(stanza)


def test_weights_without_adapters_and_a_second_quantization_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    model: Any = None
    with pytest.raises(UserError, match=f"{PATH}: quantized weights cannot be trained"):
        plugin().augmentation(model, arguments(tmp_path), (None,))
    with pytest.raises(UserError, match="load_in_4bit or load_in_8bit"):
        plugin().model_loader(str(tiny_model), quantization_config={"load_in_4bit": True})


@pytest.mark.slow
@pytest.mark.parametrize("no_peft_model", [False, True])
def test_a_run_trains_adapters_whoever_makes_them(tiny_model: Path, tmp_path: Path, no_peft_model: bool) -> None:
    from tuning.sft_trainer import train

    rows = [json.dumps({"prompt": f"Say {number}: ", "completion": str(number)}) for number in range(32)]
    (tmp_path / "train.jsonl").write_text("\n".join(rows))
    given = {"model_name_or_path": str(tiny_model), "training_data_path": str(tmp_path / "train.jsonl")}
    given |= {
        "output_dir": str(tmp_path / "out"),
        "max_steps": 3,
        "use_cpu": True,
        "bf16": False,
        "peft_method": "lora",
        "recommend": False,
    }
    stanza = {"peft": {"quantization": {"bitsandbytes": {"quant_type": "nf4", "no_peft_model": no_peft_model}}}}
    result = train({**given, "plugins": stanza})
    assert result.global_step == 3 and (result.model_folder / "adapter_model.safetensors").is_file()
