from __future__ import annotations

import json
from typing import Any

import pytest

from tuning.config.ir import IR
from tuning.recommender.adapters.adapter import Exported, Imported
from tuning.recommender.adapters.axolotl import AXOLOTL_FILE, AxolotlAdapter
from tuning.recommender.adapters.documents import parse_document

QLORA = """
base_model: org/model-8b
model_type: LlamaForCausalLM
tokenizer_type: AutoTokenizer
load_in_8bit: false
load_in_4bit: true
strict: false
datasets:
  - path: org/alpaca
    type: alpaca
dataset_prepared_path: last_run_prepared
val_set_size: 0.05
output_dir: ./outputs/qlora
adapter: qlora
lora_model_dir:
sequence_len: 4096
sample_packing: true
pad_to_sequence_len: true
lora_r: 32
lora_alpha: 16
lora_dropout: 0.05
lora_target_modules:
lora_target_linear: true
wandb_project:
wandb_entity:
gradient_accumulation_steps: 4
micro_batch_size: 2
num_epochs: 4
optimizer: paged_adamw_32bit
lr_scheduler: cosine
learning_rate: 0.0002
bf16: auto
tf32: false
gradient_checkpointing: true
gradient_checkpointing_kwargs:
  use_reentrant: true
resume_from_checkpoint:
logging_steps: 1
flash_attention: true
warmup_ratio: 0.1
evals_per_epoch: 4
saves_per_epoch: 1
weight_decay: 0.0
fsdp:
fsdp_config:
special_tokens:
  pad_token: "<|end_of_text|>"
"""
FULL = """
base_model: org/model-1b
datasets:
  - path: rows/chat.jsonl
    ds_type: json
    type: chat_template
    field_messages: conversations
    message_property_mappings:
      role: from
      content: value
test_datasets:
  - path: rows/held_out.jsonl
    ds_type: json
    split: train
    type: chat_template
    field_messages: conversations
    message_property_mappings: {role: from, content: value}
chat_template: chatml
sequence_len: 2048
group_by_length: false
train_on_inputs: false
micro_batch_size: 1
num_epochs: 1
max_steps: 100
optimizer: muon
lr_scheduler: rex
learning_rate: 2e-5
bf16: true
fp16:
eval_steps: 50
gradient_checkpointing: offload
sdp_attention: true
wandb_project: mine
fsdp_version: 2
fsdp_config:
  offload_params: false
  auto_wrap_policy: TRANSFORMER_BASED_WRAP
  transformer_layer_cls_to_wrap: LlamaDecoderLayer
  reshard_after_forward: true
"""
EIGHT_BIT = """
base_model: org/model-1b
adapter: lora
load_in_8bit: true
lora_target_modules: [q_proj, v_proj]
lora_modules_to_save: [embed_tokens]
datasets:
  - path: json
    data_files: [a.jsonl, b.jsonl]
    type: completion
    field: body
val_set_size: 0.0
evals_per_epoch: 2
eager_attention: true
bf16: false
fp16: true
peft_use_dora: true
"""


def read(text: str) -> Imported:
    return AxolotlAdapter().read(parse_document(text, "a.yaml"), "file a.yaml")


def written(**sections: Any) -> Exported:
    return AxolotlAdapter().write(IR.of(sections, "the user"))


def test_a_usual_example() -> None:
    ir = read(QLORA).ir
    assert ir.get("peft") == {
        **{"peft_method": "lora", "r": 32, "lora_alpha": 16.0, "lora_dropout": 0.05, "target_modules": "all-linear"},
    }
    assert ir.get("quantization") == {"load_in_4bit": True, "load_in_8bit": False}
    assert ir.get("data") == {
        **{"training_data_path": ["org/alpaca"], "data_format": "instruction", "validation_fraction": 0.05},
        "dataset_prepared_path": "last_run_prepared",
    }
    assert ir.get("model.attn_implementation") == "flash_attention_2"
    assert (ir.get("training.bf16"), ir.get("model.dtype")) == (None, None)
    assert ir.get("training.warmup_steps") == 0.1
    assert ir.get("training.pad_token") == "<|end_of_text|>"


def test_early_stopping_is_taken_over() -> None:
    found = read(f"{FULL}early_stopping_patience: 3\n")
    assert found.ir.get("trainer_control.early_stopping_patience") == 3
    assert "early_stopping_patience" not in {item.key for item in found.unmapped}


def test_times_per_epoch_become_shares_of_all_steps_or_epochs() -> None:
    ir = read(QLORA).ir
    assert (ir.get("training.eval_strategy"), ir.get("training.eval_steps")) == ("steps", 1 / 16)
    assert (ir.get("training.save_strategy"), ir.get("training.save_steps")) == ("epoch", None)


def test_what_has_no_counterpart_is_told_of() -> None:
    assert {item.key for item in read(QLORA).unmapped} == {
        *("model_type", "tokenizer_type", "strict", "pad_to_sequence_len", "bf16"),
    }


@pytest.mark.parametrize(
    ("said", "field", "value"),
    [
        ({"type": "sharegpt"}, "data_format", "sharegpt"),
        (
            {
                **{"type": "chat_template", "field_messages": "conversations"},
                **{"message_field_role": "from", "message_field_content": "value"},
            },
            "data_format",
            "sharegpt",
        ),
        (
            {"type": "chat_template", "message_field_role": "role", "message_field_content": "content"},
            "data_format",
            "chat",
        ),
        ({"type": "chat_template", "field_messages": "messages"}, "data_format", "chat"),
        ({"type": "chat_template", "field_messages": "turns"}, "dataset_conversation_field", "turns"),
    ],
)
def test_older_words_for_conversations_are_read(said: dict[str, Any], field: str, value: str) -> None:
    made = read(json.dumps({"base_model": "m", "datasets": [{"path": "rows.jsonl", **said}]}))
    assert made.ir.get(f"data.{field}") == value
    assert [item.key for item in made.unmapped if item.key.startswith("datasets")] == []


def test_all_weights_over_fsdp() -> None:
    made = read(FULL)
    ir = made.ir
    assert ir.get("peft.peft_method") == "none"
    assert (ir.get("training.bf16"), ir.get("model.dtype")) == (True, "bfloat16")
    assert ir.get("data.data_format") == "sharegpt"
    assert ir.get("data.validation_data_path") == ["rows/held_out.jsonl"]
    assert ir.get("accelerate") == {
        "distributed_type": "FSDP",
        "fsdp_config": {
            **{"fsdp_version": 2, "fsdp_offload_params": False, "fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP"},
            **{"fsdp_transformer_layer_cls_to_wrap": "LlamaDecoderLayer", "fsdp_reshard_after_forward": True},
        },
    }
    assert ir.get("training.train_sampling_strategy") == "random"
    assert ir.get("training.completion_only_loss") is True
    assert (ir.get("training.eval_strategy"), ir.get("training.eval_steps")) == ("steps", 50)
    assert ir.get("tracking") == {"trackers": ["wandb"], "wandb_project": "mine"}
    assert {item.key for item in made.unmapped} == {
        *("optimizer", "lr_scheduler", "chat_template", "gradient_checkpointing"),
    }


def test_eight_bits_without_held_out_rows() -> None:
    made = read(EIGHT_BIT)
    assert made.ir.get("quantization.load_in_8bit") is True
    assert made.ir.get("peft.target_modules") == ["q_proj", "v_proj"]
    assert made.ir.get("data.training_data_path") == ["a.jsonl", "b.jsonl"]
    assert made.ir.get("data.dataset_text_field") == "body"
    assert made.ir.get("training.eval_strategy") is None
    assert [item.key for item in made.unmapped] == ["evals_per_epoch"]


@pytest.mark.parametrize(
    ("document", "dtype"),
    [
        ({"bf16": True}, "bfloat16"),
        ({"fp16": True}, "float16"),
        ({"bf16": "auto", "fp16": True}, "float16"),
        ({"bf16": False}, "float32"),
        ({"bf16": False, "load_in_8bit": True, "adapter": "lora"}, "float16"),
        ({"bf16": False, "bfloat16": True}, "bfloat16"),
        ({"bf16": "auto"}, None),
        ({}, None),
    ],
)
def test_the_type_of_the_weights_is_the_one_that_it_would_load(document: dict[str, Any], dtype: str | None) -> None:
    assert AxolotlAdapter().read(document, "it").ir.get("model.dtype") == dtype


def test_modules_beside_all_linear_layers_are_among_them() -> None:
    made = AxolotlAdapter().read({"adapter": "lora", "lora_target_linear": True, "lora_target_modules": ["q_proj"]}, "")
    assert made.ir.get("peft.target_modules") == "all-linear"
    assert [item.key for item in made.unmapped] == ["lora_target_modules"]


def test_a_set_size_in_rows_is_told_of() -> None:
    made = AxolotlAdapter().read({"val_set_size": 200}, "it")
    assert made.ir.get("data.validation_fraction") is None
    assert [item.key for item in made.unmapped] == ["val_set_size"]


def test_an_export_names_the_adapter_by_its_bits() -> None:
    lora: dict[str, Any] = {"peft_method": "lora", "target_modules": "all-linear"}
    document = written(peft=lora, quantization={"load_in_4bit": True}).files[AXOLOTL_FILE]
    assert document == {"adapter": "qlora", "load_in_4bit": True, "lora_target_linear": True}
    assert written(peft=lora).files[AXOLOTL_FILE] == {"adapter": "lora", "lora_target_linear": True}
    assert written(peft={"peft_method": "none"}).files[AXOLOTL_FILE] == {}


def test_a_project_of_a_tracker_that_is_not_used_would_turn_it_on() -> None:
    made = written(tracking={"trackers": ["mlflow"], "wandb_project": "mine"})
    assert made.files[AXOLOTL_FILE] == {"use_mlflow": True}
    assert [item.key for item in made.unmapped] == ["tracking.wandb_project"]
