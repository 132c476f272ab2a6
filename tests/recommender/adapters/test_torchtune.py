from __future__ import annotations

from typing import Any

import pytest

from tuning.config.ir import IR
from tuning.recommender.adapters.adapter import Exported, Imported
from tuning.recommender.adapters.documents import parse_document
from tuning.recommender.adapters.torchtune import TORCHTUNE_FILE, TorchtuneAdapter

LORA = """
output_dir: runs/lora
model:
  _component_: torchtune.models.llama3_1.lora_llama3_1_8b
  lora_attn_modules: ['q_proj', 'v_proj', 'output_proj']
  apply_lora_to_mlp: True
  apply_lora_to_output: False
  lora_rank: 8
  lora_alpha: 16
  lora_dropout: 0.0
tokenizer:
  _component_: torchtune.models.llama3.llama3_tokenizer
  path: models/llama/original/tokenizer.model
  max_seq_len: 2048
checkpointer:
  _component_: torchtune.training.FullModelHFCheckpointer
  checkpoint_dir: models/llama
  checkpoint_files: [model-00001-of-00002.safetensors, model-00002-of-00002.safetensors]
  recipe_checkpoint: null
  output_dir: ${output_dir}
  model_type: LLAMA3
resume_from_checkpoint: False
save_adapter_weights_only: False
dataset:
  _component_: torchtune.datasets.alpaca_cleaned_dataset
  packed: True
seed: null
shuffle: True
batch_size: 2
optimizer:
  _component_: torch.optim.AdamW
  fused: True
  weight_decay: 0.01
  lr: 3e-4
  betas: [0.9, 0.95]
lr_scheduler:
  _component_: torchtune.training.lr_schedulers.get_cosine_schedule_with_warmup
  num_warmup_steps: 100
loss:
  _component_: torchtune.modules.loss.LinearCrossEntropyLoss
epochs: 1
max_steps_per_epoch: 300
gradient_accumulation_steps: 8
clip_grad_norm: null
compile: False
metric_logger:
  _component_: torchtune.training.metric_logging.DiskLogger
  log_dir: ${output_dir}/logs
log_every_n_steps: 1
log_peak_memory_stats: True
device: cuda
dtype: bf16
enable_activation_checkpointing: True
enable_activation_offloading: False
profiler:
  _component_: torchtune.training.setup_torch_profiler
  enabled: False
"""
QLORA = """
model:
  _component_: torchtune.models.llama3_1.qlora_llama3_1_8b
  lora_attn_modules: [q_proj, k_proj, v_proj, output_proj]
  apply_lora_to_mlp: true
  apply_lora_to_output: false
  lora_rank: 16
checkpointer:
  _component_: torchtune.training.FullModelHFCheckpointer
  checkpoint_dir: models/llama
  output_dir: models/llama/
output_dir: runs/qlora
dataset:
  - _component_: torchtune.datasets.chat_dataset
    source: json
    data_files: a.jsonl
    conversation_column: conversations
    conversation_style: sharegpt
    split: train
  - _component_: torchtune.datasets.chat_dataset
    source: org/rows
    conversation_column: conversations
    conversation_style: sharegpt
    split: train
dataset_val:
  _component_: torchtune.datasets.chat_dataset
  source: json
  data_files: [held.jsonl]
  conversation_column: conversations
  conversation_style: sharegpt
run_val_every_n_steps: 50
batch_size_val: 4
epochs: 3
max_steps_per_epoch: 10
optimizer:
  _component_: bitsandbytes.optim.PagedAdamW8bit
  lr: 2e-4
metric_logger:
  _component_: torchtune.training.metric_logging.WandBLogger
  project: mine
"""
FULL = """
model:
  _component_: torchtune.models.qwen2_5.qwen2_5_0_5b
checkpointer:
  _component_: torchtune.training.FullModelHFCheckpointer
  checkpoint_dir: models/qwen
dataset:
  _component_: torchtune.datasets.instruct_dataset
  source: csv
  data_files: qa.csv
  column_map: {input: question, output: answer}
  train_on_input: true
optimizer:
  _component_: torch.optim.Lion
  lr: 2e-5
device: cpu
dtype: fp32
"""


def read(text: str) -> Imported:
    return TorchtuneAdapter().read(parse_document(text, "a.yaml"), "file a.yaml")


def written(**sections: Any) -> Exported:
    return TorchtuneAdapter().write(IR.of(sections, "the user"))


def test_a_usual_recipe() -> None:
    ir = read(LORA).ir
    assert ir.get("peft.peft_method") == "lora"
    assert ir.get("peft.target_modules") == ["q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    assert ir.get("model") == {"model_name_or_path": "models/llama", "dtype": "bfloat16"}
    assert ir.get("data") == {"training_data_path": ["yahma/alpaca-cleaned"], "data_format": "instruction"}
    training = ir.get("training")
    assert (training["optim"], training["adam_beta2"], training["learning_rate"]) == ("adamw_torch_fused", 0.95, 3e-4)
    assert (training["lr_scheduler_type"], training["warmup_steps"]) == ("cosine", 100)
    assert (training["packing"], training["max_length"], training["max_steps"]) == (True, 2048, 300)
    assert (training["bf16"], training["fp16"], training["use_cpu"]) == (False, False, False)
    assert (training["output_dir"], "save_model_dir" in training) == ("runs/lora", False)


def test_what_has_no_counterpart_is_told_of_with_the_reason() -> None:
    told = {item.key: item.why for item in read(LORA).unmapped}
    assert told["checkpointer.model_type"] == "the model's folder says what is in it"
    assert "profiler.enabled" in told
    assert not {key for key in told if key.startswith(("dataset", "optimizer", "model", "lr_scheduler"))}


def test_four_bits_and_several_datasets() -> None:
    made = read(QLORA)
    ir = made.ir
    assert ir.get("quantization.load_in_4bit") is True
    assert ir.get("peft.target_modules") == "all-linear"
    assert ir.get("data") == {
        **{"training_data_path": ["a.jsonl", "org/rows"], "validation_data_path": ["held.jsonl"]},
        **{"dataset_split": "train", "data_format": "sharegpt"},
    }
    assert (ir.get("training.eval_strategy"), ir.get("training.eval_steps")) == ("steps", 50)
    assert ir.get("tracking") == {"trackers": ["wandb"], "wandb_project": "mine"}
    assert ir.get("training.optim") == "paged_adamw_8bit"


def test_a_limit_in_every_of_several_epochs_is_told_of() -> None:
    made = read(QLORA)
    assert made.ir.get("training.max_steps") is None
    assert "max_steps_per_epoch" in {item.key for item in made.unmapped}


def test_nothing_is_to_be_written_over_the_model_that_is_tuned() -> None:
    made = read(QLORA)
    assert made.ir.get("training.save_model_dir") is None
    assert "checkpointer.output_dir" in {item.key for item in made.unmapped}


def test_all_weights_on_a_cpu() -> None:
    ir = read(FULL).ir
    assert ir.get("peft.peft_method") == "none"
    assert (ir.get("training.use_cpu"), ir.get("model.dtype")) == (True, "float32")
    assert ir.get("data.data_format") == "question_answering"
    assert ir.get("training.completion_only_loss") is False
    assert "optimizer._component_" in {item.key for item in read(FULL).unmapped}


def test_an_export_leaves_the_builder_open_and_says_so() -> None:
    made = written(model={"model_name_or_path": "models/llama"}, peft={"peft_method": "lora", "r": 8})
    document = made.files[TORCHTUNE_FILE]
    assert isinstance(document, dict)
    assert document["model"] == {"_component_": "torchtune.models.FAMILY.lora_BUILDER", "lora_rank": 8}
    assert [item.key for item in made.unmapped] == ["model._component_"]


@pytest.mark.parametrize(
    ("sections", "recipe"),
    [
        ({"peft": {"peft_method": "lora"}}, "lora_finetune_single_device"),
        ({"peft": {"peft_method": "none"}}, "full_finetune_single_device"),
        ({"compute": {"num_processes": 4}}, "full_finetune_distributed"),
    ],
)
def test_the_recipe_follows_the_method_and_the_processes(sections: dict[str, Any], recipe: str) -> None:
    assert recipe in written(**sections).launch_command
