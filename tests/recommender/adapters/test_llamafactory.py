from __future__ import annotations

from typing import Any

import pytest

from tuning.config.ir import IR
from tuning.recommender.adapters.adapter import Exported, Imported
from tuning.recommender.adapters.documents import parse_document
from tuning.recommender.adapters.launch import shell_line
from tuning.recommender.adapters.llamafactory import DATASET_INFO_FILE, LLAMAFACTORY_FILE, LlamaFactoryAdapter

LORA = """
model_name_or_path: org/model-8b
trust_remote_code: true
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 8
lora_target: all
dataset: identity,alpaca_en_demo
template: llama3
cutoff_len: 2048
max_samples: 1000
preprocessing_num_workers: 16
output_dir: saves/lora
logging_steps: 10
save_steps: 500
plot_loss: true
overwrite_output_dir: true
per_device_train_batch_size: 1
gradient_accumulation_steps: 8
learning_rate: 1.0e-4
num_train_epochs: 3.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
ddp_timeout: 180000000
val_size: 0.1
eval_strategy: steps
eval_steps: 500
report_to: none
"""
QLORA = """
model_name_or_path: org/model-8b
quantization_bit: 4
quantization_method: bnb
double_quantization: false
lora_target: q_proj,v_proj
pissa_init: true
pissa_iter: -1
use_rslora: true
additional_target: embed_tokens,lm_head
dataset_dir: ONLINE
dataset: org/rows,org/more
val_size: 200
train_on_prompt: true
neat_packing: true
flash_attn: fa2
use_reentrant_gc: false
fp16: true
"""
FULL = """
model_name_or_path: org/model-1b
finetuning_type: full
deepspeed: ds_z3.json
disable_gradient_checkpointing: true
enable_liger_kernel: true
flash_attn: auto
group_by_length: true
bf16: true
dataset: rows/a.jsonl
"""


def read(text: str) -> Imported:
    return LlamaFactoryAdapter().read(parse_document(text, "a.yaml"), "file a.yaml")


def written(**sections: Any) -> Exported:
    return LlamaFactoryAdapter().write(IR.of(sections, "the user"))


def test_a_usual_example() -> None:
    values = read(LORA).ir.values
    assert values["peft"] == {"peft_method": "lora", "r": 8, "target_modules": "all-linear"}
    assert values["model"] == {"model_name_or_path": "org/model-8b", "trust_remote_code": True, "dtype": "bfloat16"}
    assert values["data"] == {"validation_fraction": 0.1}
    assert (values["training"]["warmup_steps"], values["training"]["dataset_num_proc"]) == (0.1, 16)
    assert values["tracking"] == {"trackers": []}
    lost = {item.key for item in read(LORA).unmapped}
    assert lost == {"dataset", "template", "max_samples", "plot_loss", "overwrite_output_dir"}


def test_early_stopping_is_taken_over() -> None:
    assert read(f"{LORA}early_stopping_steps: 3\n").ir.get("trainer_control.early_stopping_patience") == 3


def test_four_bits_and_what_hangs_on_them() -> None:
    ir = read(QLORA).ir
    assert ir.get("peft.peft_method") == "lora"
    assert ir.get("quantization") == {"load_in_4bit": True, "bnb_4bit_use_double_quant": False}
    assert ir.get("peft.init_lora_weights") == "pissa"
    assert ir.get("peft.modules_to_save") == ["embed_tokens", "lm_head"]
    assert (ir.get("training.packing"), ir.get("training.packing_strategy")) == (True, "bfd")
    assert ir.get("training.completion_only_loss") is False
    assert ir.get("training.gradient_checkpointing_kwargs") == {"use_reentrant": False}
    assert ir.get("data.training_data_path") == ["org/rows", "org/more"]
    assert [(item.key, item.value) for item in read(QLORA).unmapped] == [("val_size", 200)]


@pytest.mark.parametrize(
    ("document", "dtype"),
    [
        ({"finetuning_type": "lora", "bf16": True}, "bfloat16"),
        ({"finetuning_type": "full", "bf16": True}, "float32"),
        ({"finetuning_type": "lora", "fp16": True}, "float16"),
        ({"finetuning_type": "full", "pure_bf16": True}, "bfloat16"),
        ({"finetuning_type": "full"}, None),
    ],
)
def test_the_type_of_the_weights_is_the_one_that_it_would_train(document: dict[str, Any], dtype: str | None) -> None:
    assert LlamaFactoryAdapter().read(document, "it").ir.get("model.dtype") == dtype


def test_all_weights_with_deepspeed() -> None:
    ir = read(FULL).ir
    assert ir.get("peft.peft_method") == "none"
    assert ir.get("training.gradient_checkpointing") is False
    assert ir.get("training.train_sampling_strategy") == "group_by_length"
    assert ir.get("training.use_liger_kernel") is True
    assert ir.get("training.deepspeed") == "ds_z3.json"
    assert read(FULL).unmapped == ()


def test_other_methods_and_stages_are_told_of() -> None:
    made = LlamaFactoryAdapter().read({"stage": "dpo", "finetuning_type": "freeze", "bf16": True}, "it")
    assert {item.key for item in made.unmapped} == {"stage", "finetuning_type"}


def test_rows_are_described_in_a_file_of_their_own() -> None:
    made = written(data={"training_data_path": ["a.jsonl", "org/rows"], "data_format": "prompt_completion"})
    assert made.files[DATASET_INFO_FILE] == {
        "a.jsonl": {"file_name": "a.jsonl", "columns": {"prompt": "prompt", "response": "completion"}},
        "org/rows": {"hf_hub_url": "org/rows", "columns": {"prompt": "prompt", "response": "completion"}},
    }
    document = made.files[LLAMAFACTORY_FILE]
    assert isinstance(document, dict)
    assert (document["dataset"], document["dataset_dir"]) == ("a.jsonl,org/rows", ".")


def test_several_processes_are_started_by_torchrun() -> None:
    made = written(compute={"num_nodes": 2, "num_gpus_per_node": 4})
    assert made.launch_command[:4] == ["env", "FORCE_TORCHRUN=1", "NPROC_PER_NODE=4", "NNODES=2"]
    assert made.launch_command[-3:] == ["llamafactory-cli", "train", LLAMAFACTORY_FILE]
    assert '"NODE_RANK=${MACHINE_RANK:?}" "MASTER_ADDR=${MAIN_PROCESS_IP:?}"' in shell_line(made.launch_command)
