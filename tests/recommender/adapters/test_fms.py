from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuning.config.ir import IR
from tuning.recommender.adapters.adapter import Exported, Imported
from tuning.recommender.adapters.documents import parse_document, render
from tuning.recommender.adapters.fms import (
    ACCELERATE_FILE,
    COMPUTE_FILE,
    DATA_FILE,
    TUNING_FILE,
    FmsAdapter,
    read_files,
)

TUNING = """
model_name_or_path: org/model
output_dir: out
peft_method: lora
r: "8"
target_modules: [all-linear]
learning_rate: "1e-06"
bf16: "True"
max_seq_length: 4096
padding_free: [huggingface]
fast_kernels: ["True", "True", "True"]
gradient_checkpointing_kwargs: {use_reentrant: true}
warmup_ratio: 0.03
exp_metadata: '{"ticket": 7}'
training_data_path: passed_over.jsonl
include_tokens_per_second: true
"""
DATA = """
dataprocessor:
  type: default
  streaming: false
  seed: 66
datasets:
  - name: first
    data_paths: [a.jsonl, b.jsonl]
    split: {train: 0.9, validation: 0.1}
    builder: json
    data_handlers:
      - name: tokenize_and_apply_chat_template_with_masking
        arguments:
          remove_columns: all
          fn_kwargs: {conversation_column: chats, max_seq_length: 4096}
"""
TEMPLATES = """
dataprocessor:
  type: default
  chat_template: "{% raw %}\\n{{ messages }}\\n{% endraw %}"
datasets:
  - name: first
    data_paths: [a.jsonl]
    sampling: 0.3
    data_handlers:
      - name: apply_custom_jinja_template
        arguments: {remove_columns: all, fn_kwargs: {formatted_text_column_name: made, template: "### {{ question }}"}}
      - name: skip_samples_with_large_columns
        arguments: {fn_kwargs: {column_name: made, max_allowed_length: 60000}}
  - name: held_out
    data_paths: [held.jsonl]
    split: {train: 0.0, validation: 1.0}
"""
HELD_OUT = """
  - name: held_out
    data_paths: [held.jsonl]
    split: {train: 0.0, validation: 1.0}
"""
ACCELERATE = """
distributed_type: FSDP
num_processes: 8
num_machines: ${WORLD_SIZE}
machine_rank: ${RANK}
mixed_precision: no
fsdp_config: {fsdp_version: 1, fsdp_sharding_strategy: FULL_SHARD}
"""
COMPUTE = "num_nodes: 2\nnum_gpus_per_node: 8\n"


def document(text: str) -> dict[str, Any]:
    return parse_document(text, "it.yaml")


def lost(made: Imported | Exported) -> dict[str, str]:
    return {item.key: item.why for item in made.unmapped}


def test_the_tuning_file_is_read_with_its_own_names_and_ours() -> None:
    made = read_files(tuning=document(TUNING))
    assert made.ir.get("peft") == {"peft_method": "lora", "r": "8", "target_modules": "all-linear"}
    assert made.ir.get("training.max_length") == 4096
    assert made.ir.get("training.padding_free") is True
    assert made.ir.get("training.warmup_steps") == 0.03
    assert made.ir.get("metadata") == {"ticket": 7}
    assert len(made.ir.get("acceleration.plugins.training.fused_ops_and_kernels")) == 3
    assert set(lost(made)) == {"include_tokens_per_second"}


@pytest.mark.parametrize(
    ("given", "method"),
    [
        ({"tuning_strategy": "full"}, "none"),
        ({"tuning_strategy": "lora"}, "lora"),
        ({"peft_method": "none"}, "none"),
        ({"peft_method": "LoRA"}, "lora"),
        ({"peft_method": "pt"}, "pt"),
        ({"peft_method": "alora"}, "alora"),
        ({}, None),
    ],
)
def test_the_method_is_named_in_two_ways(given: dict[str, Any], method: str | None) -> None:
    assert read_files(tuning=given).ir.get("peft.peft_method") == method


def test_methods_that_are_not_trained_here_are_told_of() -> None:
    assert set(lost(read_files(tuning={"peft_method": "lokr"}))) == {"peft_method"}


def test_the_data_file_decides_about_rows() -> None:
    made = read_files(document(TUNING), document(DATA))
    assert made.ir.get("data") == {
        **{"training_data_path": ["a.jsonl", "b.jsonl"], "validation_fraction": 0.1},
        **{"dataset_conversation_field": "chats", "sampling_seed": 66, "streaming": False},
    }
    told = lost(made)
    assert told["data.training_data_path"] == "data config says ['a.jsonl', 'b.jsonl']"
    assert "datasets[0].builder" in told


def test_templates_and_held_out_rows() -> None:
    simple = TEMPLATES.replace("    sampling: 0.3\n", "").partition("      - name: skip_samples")
    made = read_files({"response_template": "### Response:"}, document(simple[0] + HELD_OUT))
    assert made.ir.get("data") == {
        **{"response_template": "### Response:", "data_formatter_template": "### {{ question }}"},
        **{"training_data_path": ["a.jsonl"], "validation_data_path": ["held.jsonl"]},
    }
    assert made.ir.get("model.chat_template") == "{{ messages }}"


def test_mixtures_and_other_handlers_become_datasets() -> None:
    tuning = {"dataset_text_field": "made", "training_data_path": "passed_over.jsonl"}
    made = read_files(tuning, document(TEMPLATES))
    first, second = made.ir.get("data.datasets")
    assert (first["name"], first["sampling"], len(first["data_handlers"])) == ("first", 0.3, 2)
    assert second["split"] == {"train": 0.0, "validation": 1.0}
    assert made.ir.get("data.sampling_seed") == 42
    assert made.ir.get("data.training_data_path") is None
    assert set(lost(made)) == {"data.training_data_path"}


def test_datasets_are_written_and_read_again() -> None:
    made = read_files({}, document(TEMPLATES)).ir
    written = FmsAdapter().write(made)
    assert written.unmapped == ()
    again = read_files({}, document(render(DATA_FILE, written.files[DATA_FILE]))).ir
    assert again.values == made.values


def test_the_tuning_file_decides_about_precision_and_the_compute_file_about_processes() -> None:
    made = read_files(document(TUNING), None, document(ACCELERATE), document(COMPUTE))
    assert made.ir.get("training.bf16") == "True"
    assert made.ir.get("compute") == {"num_nodes": 2, "num_gpus_per_node": 8}
    assert lost(made)["compute.num_processes"] == "the compute config says 2 x 8"
    assert lost(made)["num_machines"] == "is decided when the run is launched"


def test_files_are_read_by_path_and_name_themselves(tmp_path: Path) -> None:
    (tmp_path / "tuning.json").write_text(json.dumps({"r": 8}))
    made = read_files(tuning=tmp_path / "tuning.json")
    assert made.ir.sources == {"peft.r": f"file {tmp_path / 'tuning.json'}"}


def test_all_four_files_are_written_and_read_again() -> None:
    ir = IR.of(
        {
            "model": {"model_name_or_path": "org/model", "chat_template": "{{ messages }}"},
            "data": {"training_data_path": ["a.jsonl"], "data_format": "input_output", "validation_fraction": 0.05},
            "training": {"output_dir": "it's out", "bf16": True, "fp16": False, "warmup_steps": 0.03, "max_length": 64},
            "peft": {"peft_method": "lora", "r": 8, "target_modules": "all-linear"},
            "compute": {"num_processes": 4, "num_nodes": 1, "num_gpus_per_node": 4},
            "accelerate": {"distributed_type": "MULTI_GPU"},
        },
        "the user",
    )
    made = FmsAdapter().write(ir)
    assert list(made.files) == [TUNING_FILE, DATA_FILE, ACCELERATE_FILE, COMPUTE_FILE]
    texts = [document(render(name, content)) for name, content in made.files.items()]
    assert read_files(*texts).ir.values == ir.values
    assert made.unmapped == ()


def test_the_command_gives_every_setting_as_one_word_and_the_rows_by_their_file() -> None:
    made = FmsAdapter().write(
        IR.of({"training": {"output_dir": "; rm -r x", "bf16": True}, "data": {"training_data_path": ["a"]}}, "me")
    )
    assert made.launch_command == [
        *("accelerate", "launch", "--config_file", ACCELERATE_FILE, "-m", "tuning.sft_trainer"),
        *("--output_dir", "; rm -r x", "--bf16", "true", "--data_config_path", DATA_FILE),
    ]


def test_what_it_has_no_word_for_is_told_of() -> None:
    sections: dict[str, Any] = {
        "model": {"attn_implementation": "eager"},
        "tracking": {"trackers": ["wandb"], "wandb_project": "mine"},
        "compute": {"gpu_memory_gib": 80.0, "num_processes": 8},
        "peft": {"target_modules": r".*\.q_proj"},
    }
    told = set(lost(FmsAdapter().write(IR.of(sections, "me"))))
    assert told == {
        *("model.attn_implementation", "tracking.trackers", "tracking.wandb_project"),
        "peft.target_modules",
    }
