"""Misspelt keys and values: the right name is the first one that is suggested."""

from __future__ import annotations

import re

import pytest

from tuning.config.building import build_config
from tuning.config.loading import load_mapping
from tuning.config.names import MEANT, field_paths
from tuning.errors import ConfigError
from tuning.job import unusable_trackers

REQUIRED = {"model_name_or_path": "m", "training_data_path": "rows.jsonl", "output_dir": "out"}
KEYS = {
    "learning_rat": "learning_rate",
    "lerning_rate": "learning_rate",
    "learningrate": "learning_rate",
    "LearningRate": "learning_rate",
    "lr": "learning_rate",
    "num_train_epoch": "num_train_epochs",
    "epochs": "num_train_epochs",
    "max_step": "max_steps",
    "max_lenght": "max_length",
    "max_seq_len": "max_seq_length",
    "batch_size": "per_device_train_batch_size",
    "per_device_batch_size": "per_device_train_batch_size",
    "per_device_train_batchsize": "per_device_train_batch_size",
    "gradient_accumulation": "gradient_accumulation_steps",
    "warmup_step": "warmup_steps",
    "weight_deacy": "weight_decay",
    "output_directory": "output_dir",
    "modelname_or_path": "model_name_or_path",
    "model_path": "model_name_or_path",
    "train_data_path": "training_data_path",
    "val_data_path": "validation_data_path",
    "peftmethod": "peft_method",
    "lora_rank": "r",
    "lora_aplha": "lora_alpha",
    "lora_droput": "lora_dropout",
    "target_module": "target_modules",
    "load_in_4bits": "load_in_4bit",
    "trackrs": "trackers",
    "scheduler_type": "lr_scheduler_type",
    "optimizer": "optim",
    "gradient_checkpoint": "gradient_checkpointing",
    "loging_steps": "logging_steps",
    "respones_template": "response_template",
    "chat_templat": "chat_template",
    "attn_implementaton": "attn_implementation",
    "packin": "packing",
}
VALUES = {
    ("peft_method", "lroa"): "lora",
    ("peft_method", "qlora"): "lora",
    ("lr_scheduler_type", "cosin"): "cosine",
    ("lr_scheduler_type", "constant_with_warmpu"): "constant_with_warmup",
    ("optim", "adamw_torch_fusd"): "adamw_torch_fused",
    ("optim", "adamw"): "adamw_hf",
    ("dtype", "bf16"): "bfloat16",
    ("dtype", "Bfloat"): "bfloat16",
    ("trackers", "mlfow"): "mlflow",
    ("trackers", "tensorbord"): "tensorboard",
    ("bnb_4bit_quant_type", "nf"): "nf4",
    ("save_strategy", "step"): "steps",
    ("eval_strategy", "epochs"): "epoch",
    ("audit", "wran"): "warn",
    ("wandb_mode", "offlin"): "offline",
    ("prompt_tuning_init", "txt"): "TEXT",
}


def first_suggestion(key: str, value: object) -> str | None:
    loaded = load_mapping({**REQUIRED, key: value})
    with pytest.raises(ConfigError) as caught:
        build_config(loaded.ir, (unusable_trackers,), loaded.problems)
    found = re.search(r"Did you mean '([^']+)'", str(caught.value))
    return found[1] if found else None


def test_at_least_45_of_50_misspelt_names_are_told_right() -> None:
    found = {key: first_suggestion(key, 1) for key in KEYS} | {case: first_suggestion(*case) for case in VALUES}
    wanted: dict[object, str] = {**KEYS, **VALUES}
    wrong = {case: suggested for case, suggested in found.items() if suggested != wanted[case]}
    assert len(wanted) >= 50
    assert len(wrong) <= 5, wrong


def test_what_people_mean_is_a_field_and_what_they_write_is_none() -> None:
    assert set(MEANT.values()) <= set(field_paths())
    assert not set(MEANT) & set(field_paths())
