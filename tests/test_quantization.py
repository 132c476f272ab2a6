from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tuning.config.building import build_config
from tuning.config.loading import load_mapping
from tuning.config.schema import TuningConfig
from tuning.errors import ConfigError, MissingExtraError
from tuning.quantization import quantized_already, unusable_quantization

LOAD_AND_GENERATE = """
import sys
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer
model = AutoPeftModelForCausalLM.from_pretrained(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
tokens = tokenizer("Say 7", return_tensors="pt", return_token_type_ids=False)
out = model.generate(**tokens, max_new_tokens=4, min_new_tokens=4, do_sample=False)
assert "tuning" not in sys.modules
print(out.shape[1] - tokens["input_ids"].shape[1])
"""


def config(folder: Path, **settings: Any) -> TuningConfig:
    required = {"model_name_or_path": str(folder), "training_data_path": "d.jsonl", "output_dir": "out"}
    return build_config(load_mapping({**required, **settings}).ir)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"load_in_4bit": True, "load_in_8bit": True}, "conflicts with quantization.load_in_4bit"),
        (
            {"load_in_4bit": True, "peft_method": "none"},
            "adapters on them can. Set peft_method=lora, or leave",
        ),
        ({"load_in_8bit": True, "train_from_scratch": True}, "quantization.load_in_8bit: got True"),
        ({"bnb_4bit_quant_type": "int4"}, "expected one of: nf4, fp4"),
        ({"bnb_4bit_compute_dtype": "half"}, "expected one of: float32, bfloat16, float16"),
    ],
)
def test_what_cannot_be_quantized_is_refused_with_the_field(tmp_path: Path, settings: Any, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config(tmp_path, **settings)
    assert told in str(refused.value)


def test_a_missing_package_is_told_with_its_extra_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MissingExtraError, match=r"tuning\[quantization\]"):
        list(unusable_quantization(config(tmp_path, load_in_4bit=True, peft_method="lora")))
    assert list(unusable_quantization(config(tmp_path, peft_method="lora"))) == []


def test_adapters_that_nobody_decided_on_are_asked_for(tmp_path: Path) -> None:
    (problem,) = unusable_quantization(config(tmp_path, load_in_8bit=True, recommend=False))
    assert problem.path == "peft.peft_method"


def test_weights_that_are_quantized_already_are_trained_on_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": {"quant_method": "gptq"}}))
    assert quantized_already(config(tmp_path)) == "gptq"
    assert list(unusable_quantization(config(tmp_path, peft_method="lora"))) == []
    (problem,) = unusable_quantization(config(tmp_path, peft_method="lora", load_in_4bit=True))
    assert (problem.path, "quantized already (gptq)" in problem.expected) == ("quantization.load_in_4bit", True)
    assert [found.path for found in unusable_quantization(config(tmp_path))] == ["peft.peft_method"]


@pytest.mark.parametrize("written", ["", "[]", '{"quantization_config": 4}'])
def test_a_configuration_that_cannot_be_read_counts_as_not_quantized(tmp_path: Path, written: str) -> None:
    (tmp_path / "config.json").write_text(written)
    assert quantized_already(config(tmp_path)) is None


@pytest.fixture
def words(tiny_model: Path, tmp_path: Path) -> list[str]:
    rows = [json.dumps({"prompt": f"Say {number}: ", "completion": str(number)}) for number in range(64)]
    (tmp_path / "train.jsonl").write_text("\n".join(rows))
    paths = [f"model_name_or_path={tiny_model}", "training_data_path=train.jsonl", "output_dir=out"]
    return [*paths, "max_steps=40", "per_device_train_batch_size=16", "learning_rate=0.03", "logging_steps=5"]


def train(words: list[str], folder: Path) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "tuning.sft_trainer", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    lines = (folder / "out" / "tracking" / "events.jsonl").read_text().splitlines()
    return [record["values"] for record in map(json.loads, lines) if record["type"] == "metrics"]


@pytest.mark.slow
@pytest.mark.parametrize("field", ["load_in_4bit", "load_in_8bit"])
def test_adapters_on_quantized_weights_learn_through_evaluations_and_load_without_us(
    words: list[str], tmp_path: Path, field: str
) -> None:
    evaluated = [f"{field}=true", "validation_data_path=train.jsonl", "eval_on_start=true", "eval_steps=10"]
    values = train([*words, *evaluated], tmp_path)
    losses = [found["eval/loss"] for found in values if "eval/loss" in found]
    assert len(losses) == 5 and max(losses[1:]) < losses[0] - 0.3, losses
    adapter = tmp_path / "out" / "model"
    assert (adapter / "adapter_model.safetensors").is_file() and not (adapter / "model.safetensors").exists()
    elsewhere = [sys.executable, "-c", LOAD_AND_GENERATE, str(adapter)]
    loaded = subprocess.run(elsewhere, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert loaded.stdout.strip().endswith("4"), loaded.stderr


@pytest.mark.slow
def test_gradients_are_the_same_before_and_after_a_forward_pass_without_them(tiny_model: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    from tuning.model import load_model
    from tuning.tokenizer import Additions, load_tokenizer

    chosen = config(tiny_model, load_in_4bit=True, peft_method="lora", use_cpu=True, dtype="float32")
    base: Any = load_model(chosen, load_tokenizer(chosen)[0], Additions())
    layers = [module for module in base.modules() if type(module).__name__ == "Linear4bit"]
    assert layers and not any(layer.support_avx512bf16_for_cpu for layer in layers)
    model: Any = get_peft_model(base, LoraConfig(target_modules="all-linear", init_lora_weights=False))
    tokens = torch.arange(5, 25)[None]

    def gradients() -> list[torch.Tensor]:
        model.train()
        model.zero_grad()
        model(tokens, labels=tokens).loss.backward()
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.requires_grad]

    before = gradients()
    model.eval()
    with torch.no_grad():
        model(tokens)
    after = gradients()
    assert all(torch.equal(first, second) for first, second in zip(before, after, strict=True))
    assert all(gradient.abs().sum() > 0 for gradient in before)


@pytest.mark.slow
@pytest.mark.parametrize(("bf16", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_adapters_are_as_precise_as_the_training(tiny_model: Path, bf16: bool, dtype: str) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    from tuning.model import load_model
    from tuning.quantization import keep_adapters_in_float32
    from tuning.tokenizer import Additions, load_tokenizer

    chosen = config(tiny_model, load_in_4bit=True, peft_method="lora", use_cpu=True)
    base: Any = load_model(chosen, load_tokenizer(chosen)[0], Additions())
    model: Any = get_peft_model(base, LoraConfig(target_modules="all-linear"))
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.bfloat16)  # as TRL does where the weights are quantized
    keep_adapters_in_float32(model, bf16)
    assert {str(found.dtype) for found in model.parameters() if found.requires_grad} == {f"torch.{dtype}"}
