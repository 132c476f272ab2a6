from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tuning.config.ir import IR
from tuning.recommender.adapters.adapter import Exported, Imported
from tuning.recommender.adapters.documents import parse_document, render
from tuning.recommender.adapters.trl_sft import TRL_FILE, TrlAdapter

QLORA = """
model_name_or_path: org/model-8b
dtype: bfloat16
attn_implementation: flash_attention_2
use_peft: true
lora_r: 32
lora_alpha: 16
lora_target_modules: [all-linear]
load_in_4bit: true
bnb_4bit_quant_type: nf4
use_bnb_nested_quant: true
dataset_name: org/rows
dataset_train_split: train_sft
dataset_test_split: test_sft
learning_rate: 2.0e-4
num_train_epochs: 1
packing: true
max_length: 4096
bf16: true
eval_strategy: 'no'
gradient_checkpointing: true
gradient_checkpointing_kwargs:
  use_reentrant: false
lr_scheduler_type: cosine_with_min_lr
lr_scheduler_kwargs:
  min_lr_rate: 0.1
warmup_ratio: 0.03
report_to: [wandb]
output_dir: out
"""
FULL = """
model_name_or_path: org/model-1b
lora_r: 8
datasets:
  - path: json
    data_files: [a.jsonl, b.jsonl]
  - path: org/more
    columns: [messages]
test_split_size: 0.1
max_seq_length: 1024
warmup_steps: 10
report_to: none
env:
  TOKENIZERS_PARALLELISM: "false"
output_dir: out
"""


def read(text: str) -> Imported:
    return TrlAdapter().read(parse_document(text, "a.yaml"), "file a.yaml")


def written(**sections: Any) -> Exported:
    return TrlAdapter().write(IR.of(sections, "the user"))


def test_adapters_over_four_bits() -> None:
    values = read(QLORA).ir.values
    assert values["peft"] == {"peft_method": "lora", "r": 32, "lora_alpha": 16.0, "target_modules": "all-linear"}
    assert values["quantization"] == {
        **{"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True},
        "bnb_4bit_compute_dtype": "bfloat16",
    }
    assert values["training"]["warmup_steps"] == 0.03
    assert values["data"] == {"training_data_path": ["org/rows"], "dataset_split": "train_sft"}
    assert [item.key for item in read(QLORA).unmapped] == ["dataset_test_split"]


def test_without_use_peft_every_weight_is_trained_whatever_lora_fields_say() -> None:
    assert read(FULL).ir.get("peft.peft_method") == "none"


def test_a_mixture_is_its_files_and_the_share_that_is_held_out() -> None:
    made = read(FULL)
    assert made.ir.get("data.training_data_path") == ["a.jsonl", "b.jsonl", "org/more"]
    assert made.ir.get("data.validation_fraction") == 0.1
    assert made.ir.get("training.max_length") == 1024
    assert made.ir.get("tracking.trackers") == []
    assert [item.key for item in made.unmapped] == ["datasets[1].columns", "env.TOKENIZERS_PARALLELISM"]


def test_one_module_stays_a_name_though_trl_takes_it_out_of_its_list() -> None:
    document = written(peft={"peft_method": "lora", "target_modules": ["q_proj"]}).files[TRL_FILE]
    assert isinstance(document, dict)
    assert document["lora_target_modules"] == ["q_proj", "q_proj"]
    assert TrlAdapter().read(document, "it").ir.get("peft.target_modules") == ["q_proj"]


def test_files_are_a_mixture_and_a_folder_is_a_name() -> None:
    files = written(data={"training_data_path": ["a.jsonl", "b.csv", "org/rows"]}).files[TRL_FILE]
    assert isinstance(files, dict)
    assert files["datasets"] == [
        {"path": "json", "data_files": ["a.jsonl"]},
        {"path": "csv", "data_files": ["b.csv"]},
        {"path": "org/rows"},
    ]
    assert written(data={"training_data_path": ["folder"]}).files[TRL_FILE] == {
        **{"use_peft": False, "dataset_name": "folder"}
    }


def test_several_processes_bring_accelerates_file_along() -> None:
    made = written(compute={"num_processes": 2})
    assert made.launch_command == ["trl", "sft", "--config", TRL_FILE, "--accelerate_config", "accelerate.yaml"]
    assert set(made.files) == {TRL_FILE, "accelerate.yaml"}


def test_a_token_is_not_written_to_a_file() -> None:
    made = written(training={"hub_token": "hf_secret"})
    assert "hf_secret" not in str(made.files)
    assert [item.key for item in made.unmapped] == ["training.hub_token"]


EVERYTHING: dict[str, Any] = {
    "model": {"model_name_or_path": "org/model", "dtype": "bfloat16", "attn_implementation": "sdpa", "revision": "v1"},
    "data": {"training_data_path": ["a.jsonl", "b.parquet"], "validation_fraction": 0.05, "dataset_text_field": "text"},
    "training": {
        **{"output_dir": "out", "learning_rate": 2e-5, "num_train_epochs": 2.0, "warmup_steps": 0.03, "use_cpu": True},
        **{"lr_scheduler_type": "cosine", "gradient_checkpointing_kwargs": {"use_reentrant": False}, "packing": False},
        **{"max_length": 512, "eval_strategy": "steps", "eval_steps": 0.1, "optim": "adamw_torch_fused", "seed": 7},
        **{"bf16": False, "fp16": False, "neftune_noise_alpha": 5.0, "completion_only_loss": True, "max_steps": 3},
    },
    "peft": {"peft_method": "lora", "r": 8, "lora_alpha": 16.0, "lora_dropout": 0.1, "target_modules": ["q_proj"]},
    "quantization": {"load_in_4bit": True, "bnb_4bit_use_double_quant": True},
    "tracking": {"trackers": [], "run_name": "first"},
}


@pytest.mark.slow
@pytest.mark.parametrize("values", [EVERYTHING, read(QLORA).ir.values, read(FULL).ir.values])
def test_trls_own_parser_takes_the_file(values: dict[str, Any], tmp_path: Path) -> None:
    from trl.scripts.sft import make_parser

    ir = IR.of(values, "the user").merge({"training": {"use_cpu": True, "bf16": False}}, "the user")
    (tmp_path / TRL_FILE).write_text(render(TRL_FILE, TrlAdapter().write(ir).files[TRL_FILE]))
    script, training, model, mixture = make_parser().parse_args_and_config(["--config", str(tmp_path / TRL_FILE)])
    assert model.use_peft is (ir.get("peft.peft_method") == "lora")
    assert model.lora_r == ir.get("peft.r", 16)
    assert model.load_in_4bit is bool(ir.get("quantization.load_in_4bit"))
    for name, value in ir.get("training").items():
        assert getattr(training, name) == value, name
    assert bool(mixture.datasets) is ("a.jsonl" in ir.get("data.training_data_path"))
    assert (script.dataset_name is None) is bool(mixture.datasets)


@pytest.mark.slow
def test_trl_gives_peft_the_same_modules() -> None:
    from trl import ModelConfig, get_peft_config

    for modules in (["q_proj"], ["q_proj", "v_proj"], "all-linear", r".*\.(q|v)_proj"):
        made = written(peft={"peft_method": "lora", "target_modules": modules}).files[TRL_FILE]
        assert isinstance(made, dict)
        found = get_peft_config(ModelConfig(use_peft=True, lora_target_modules=made["lora_target_modules"]))
        assert found is not None
        assert found.target_modules == (set(modules) if isinstance(modules, list) else modules)
