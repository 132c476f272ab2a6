from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import gptq_checkpoints
import pytest

from tuning.acceleration.gptq_plugin import PATH, AutoGPTQPlugin
from tuning.errors import UserError


def plugin(**stanza: Any) -> AutoGPTQPlugin:
    return AutoGPTQPlugin({PATH: stanza})


def with_lora(model: Any, folder: Path) -> Any:
    from peft import LoraConfig
    from transformers import TrainingArguments

    args = TrainingArguments(output_dir=str(folder), report_to="none", use_cpu=True)
    lora = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    adapted, others = plugin().augmentation(model, args, (lora,))
    assert others == (None,)
    return adapted


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bits", "checkpoint_format", "desc_act"), [(4, "gptq", False), (4, "gptq_v2", True), (8, "gptq", True)]
)
def test_a_packed_model_gives_the_logits_and_the_gradients_of_the_dense_one(
    tiny_model: Path, tmp_path: Path, bits: int, checkpoint_format: str, desc_act: bool
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    checkpoint = gptq_checkpoints.write_gptq(tiny_model, tmp_path, bits, checkpoint_format, desc_act)
    tokens, found = torch.arange(5, 45).view(2, 20), []
    bases = (
        plugin().model_loader(str(checkpoint), dtype="float32"),
        AutoModelForCausalLM.from_pretrained(tmp_path / "dense", dtype="float32"),
    )
    for base in bases:
        torch.manual_seed(0)
        model = with_lora(base, tmp_path)
        output = model(tokens, labels=tokens)
        output.loss.backward()
        gradients = {name: each.grad for name, each in model.named_parameters() if each.requires_grad}
        found.append((output.logits, gradients))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-5, atol=1e-5)
    assert len(found[0][1]) == 28  # 7 linear layers in each of 2 blocks, A and B
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_adapters_on_a_packed_model_learn_and_are_saved_and_loaded(tiny_model: Path, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import Trainer, TrainingArguments

    checkpoint = gptq_checkpoints.write_gptq(tiny_model, tmp_path)
    model = with_lora(plugin().model_loader(str(checkpoint), dtype="float32"), tmp_path)
    rows: Any = [{"input_ids": list(range(5, 30)), "labels": list(range(5, 30))}] * 16
    args = TrainingArguments(
        output_dir=str(tmp_path / "out"), max_steps=5, logging_steps=1, learning_rate=0.02, use_cpu=True,
        save_strategy="no", report_to="none", disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(model, args, train_dataset=rows)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 5 and losses[-1] < losses[0] - 0.1
    model.save_pretrained(tmp_path / "adapter")
    again = PeftModel.from_pretrained(plugin().model_loader(str(checkpoint), dtype="float32"), tmp_path / "adapter")
    tokens = torch.arange(5, 25)[None]
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(tokens).logits, model.eval()(tokens).logits)
    with pytest.raises(ValueError, match=r"(?i)cannot merge .* gptq"):
        again.merge_and_unload()


@pytest.mark.slow
def test_a_packed_model_is_saved_as_it_was_read(tiny_model: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    checkpoint = gptq_checkpoints.write_gptq(tiny_model, tmp_path)
    plugin().model_loader(str(checkpoint)).save_pretrained(tmp_path / "again")
    before, after = (load_file(folder / "model.safetensors") for folder in (checkpoint, tmp_path / "again"))
    assert before.keys() == after.keys()
    assert plugin().model_loader(str(tmp_path / "again")).config.quantization_config["quant_method"] == "gptq"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"bits": 3}, "bits=3"),
        ({"checkpoint_format": "marlin"}, "checkpoint_format=marlin"),
        ({"dynamic": {"-:k_proj": {}}}, "one size for all layers"),
        ({"quant_method": "awq"}, r"no GPTQ checkpoint \(awq\); leave the stanza out"),
    ],
)
def test_a_checkpoint_that_cannot_be_read_is_refused_before_its_weights(
    tiny_config_only_model: Path, tmp_path: Path, fields: dict[str, Any], told: str
) -> None:
    document = json.loads((tiny_config_only_model / "config.json").read_text())
    document["quantization_config"] = {"quant_method": "gptq", "bits": 4, "group_size": 32, **fields}
    (tmp_path / "config.json").write_text(json.dumps(document))
    with pytest.raises(UserError, match=told):
        plugin().model_loader(str(tmp_path))


def test_a_kernel_that_is_not_here_is_told_once(tiny_config_only_model: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING), pytest.raises(UserError, match="not quantized"):
        plugin(kernel="triton_v2").model_loader(str(tiny_config_only_model))
    assert [record.message for record in caplog.records if "triton_v2" in record.message] == [
        f"{PATH}: there is no kernel triton_v2 here; torch is used, with equal results"
    ]


def test_weights_without_adapters_and_a_second_quantization_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    from transformers import TrainingArguments

    with pytest.raises(UserError, match="adapters on them can"):
        plugin().augmentation(None, TrainingArguments(output_dir=str(tmp_path), report_to="none"), (None,))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="load_in_4bit or load_in_8bit"):
        plugin().model_loader(str(tiny_model), quantization_config={"load_in_4bit": True})


def run(folder: Path, checkpoint: Path, **settings: Any) -> Any:
    from tuning.sft_trainer import train

    rows = [json.dumps({"prompt": f"Say {number}: ", "completion": str(number)}) for number in range(32)]
    (folder / "train.jsonl").write_text("\n".join(rows))
    given = {"model_name_or_path": str(checkpoint), "training_data_path": str(folder / "train.jsonl")}
    given |= {
        "output_dir": str(folder / "out"),
        "max_steps": 3,
        "use_cpu": True,
        "bf16": False,
        "peft_method": "lora",
        "recommend": False,
    }
    return train({**given, **settings})


@pytest.mark.slow
def test_a_run_trains_adapters_on_a_packed_model_by_the_stanza_of_fms(tiny_model: Path, tmp_path: Path) -> None:
    checkpoint = gptq_checkpoints.write_gptq(tiny_model, tmp_path)
    stanza = {"peft": {"quantization": {"auto_gptq": {"kernel": "torch", "from_quantized": True}}}}
    result = run(tmp_path, checkpoint, plugins=stanza)
    assert result.global_step == 3 and (result.model_folder / "adapter_model.safetensors").is_file()
    assert not (result.model_folder / "model.safetensors").exists()


@pytest.mark.slow
def test_a_run_without_the_stanza_says_that_there_is_one(tiny_model: Path, tmp_path: Path) -> None:
    checkpoint = gptq_checkpoints.write_gptq(tiny_model, tmp_path)
    with pytest.raises(UserError, match=r"cannot be loaded: .*peft\.quantization\.auto_gptq reads GPTQ checkpoints"):
        run(tmp_path, checkpoint)


def test_a_saved_model_that_is_packed_is_read_without_a_stanza(tiny_model: Path, tmp_path: Path) -> None:
    import torch

    from tuning.config.schema import TuningConfig
    from tuning.saved_model import load_saved

    packed, tokens, logits = gptq_checkpoints.write_gptq(tiny_model, tmp_path), torch.arange(5, 25)[None], []
    for folder in (packed, tmp_path / "dense"):
        section = {"model_name_or_path": str(folder), "dtype": "float32"}
        model, _ = load_saved(TuningConfig.model_validate({"model": section}), None)
        logits.append(model(tokens).logits)
    torch.testing.assert_close(*logits)
