"""The other programs, where they are installed: LLaMA-Factory, litgpt and torchtune, each with its own defaults.

They log the loss of each step, and not its mean; of those that have their own form of weights nothing is scored.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from benchmarks.systems import LORA_ALPHA, LORA_R, Case, System

_LITGPT_LOSS = re.compile(r"loss train: ([\d.]+)")
_TORCHTUNE_LOSS = re.compile(r"\|Loss: ([\d.]+)")


def llamafactory(case: Case) -> list[str]:
    """Write LLaMA-Factory's configuration, with a template that adds nothing, and return the command on it."""
    scenario = case.scenario
    rows = {"file_name": str(case.files.train), "columns": {"prompt": "prompt", "response": "completion"}}
    (case.folder / "dataset_info.json").write_text(json.dumps({"rows": rows}))
    config: dict[str, Any] = {
        "stage": "sft",
        "do_train": True,
        "model_name_or_path": str(case.files.model),
        "finetuning_type": "lora" if case.is_lora else "full",
        "dataset": "rows",
        "dataset_dir": str(case.folder),
        "template": "empty",
        "cutoff_len": scenario.max_length,
        "output_dir": str(case.model_folder),
        "per_device_train_batch_size": scenario.batch_size,
        "gradient_accumulation_steps": 1,
        "max_steps": scenario.steps,
        "learning_rate": scenario.learning_rate,
        "lr_scheduler_type": "constant",
        "seed": case.seed,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
    }
    if case.is_lora:
        config |= {"lora_rank": LORA_R, "lora_alpha": LORA_ALPHA, "lora_dropout": 0.0, "lora_target": "all"}
    if scenario.device == "cpu":
        config["use_cpu"] = True
    return [_beside(case, "llamafactory-cli"), "train", _write(case, config)]


def litgpt(case: Case) -> list[str]:
    """Return litgpt's command; its schedule of the learning rate is its own."""
    scenario = case.scenario
    rows = [json.loads(line) for line in case.files.train.read_text(encoding="utf-8").splitlines()]
    own = [{"instruction": row["prompt"], "input": "", "output": row["completion"]} for row in rows]
    (case.folder / "rows.json").write_text(json.dumps(own))
    optimizer = {"class_path": "torch.optim.AdamW", "init_args": {"lr": scenario.learning_rate, "weight_decay": 0.0}}
    config: dict[str, Any] = {
        "checkpoint_dir": str(case.folder / "litgpt"),
        "out_dir": str(case.model_folder),
        "precision": "32-true",
        "data": {
            "class_path": "litgpt.data.JSON",
            "init_args": {
                "json_path": str(case.folder / "rows.json"),
                "mask_prompt": True,
                "val_split_fraction": 0.02,
                "prompt_style": {"class_path": "litgpt.prompts.Default"},
            },
        },
        "train": {
            "global_batch_size": scenario.batch_size,
            "micro_batch_size": scenario.batch_size,
            "max_steps": scenario.steps,
            "max_seq_length": scenario.max_length,
            "lr_warmup_steps": 1,
            "log_interval": 1,
            "epochs": 5,
        },
        "eval": {"final_validation": False, "interval": 10_000, "max_iters": 1, "max_new_tokens": 1},
        "optimizer": optimizer,
        "seed": case.seed,
    }
    if case.is_lora:
        parts = ("query", "key", "value", "projection", "mlp")
        config |= {"lora_r": LORA_R, "lora_alpha": LORA_ALPHA, "lora_dropout": 0.0}
        config |= {f"lora_{part}": True for part in parts}
    recipe = "finetune_lora" if case.is_lora else "finetune_full"
    return [_beside(case, "litgpt"), recipe, "--config", _write(case, config)]


def torchtune(case: Case) -> list[str]:
    """Write torchtune's configuration of a Llama of this shape, and return the command on it."""
    shape = case.scenario.shape
    model: dict[str, Any] = {
        "_component_": "torchtune.models.llama2.lora_llama2" if case.is_lora else "torchtune.models.llama2.llama2",
        "vocab_size": shape["vocab_size"],
        "num_layers": shape["num_hidden_layers"],
        "num_heads": shape["num_attention_heads"],
        "num_kv_heads": shape["num_key_value_heads"],
        "embed_dim": shape["hidden_size"],
        "intermediate_dim": shape["intermediate_size"],
        "max_seq_len": shape["max_position_embeddings"],
    }
    if case.is_lora:
        model |= {"lora_attn_modules": ["q_proj", "k_proj", "v_proj", "output_proj"], "apply_lora_to_mlp": True}
        model |= {"lora_rank": LORA_R, "lora_alpha": LORA_ALPHA, "lora_dropout": 0.0}
    rows = [json.loads(line) for line in case.files.train.read_text(encoding="utf-8").splitlines()]
    (case.folder / "rows.json").write_text(json.dumps(rows))
    config = {**_torchtune_defaults(case), "model": model}
    if case.is_lora:
        schedule = "torchtune.training.lr_schedulers.get_cosine_schedule_with_warmup"
        config["lr_scheduler"] = {"_component_": schedule, "num_warmup_steps": 0}
    recipe = "lora_finetune_single_device" if case.is_lora else "full_finetune_single_device"
    return [_beside(case, "tune"), "run", recipe, "--config", _write(case, config)]


def _torchtune_defaults(case: Case) -> dict[str, Any]:
    """Return what torchtune's shipped configurations say, for this device and these rows."""
    scenario = case.scenario
    return {
        "output_dir": str(case.model_folder),
        "tokenizer": {
            "_component_": "benchmarks.peer_files.TorchtuneTokenizer",
            "folder": str(case.files.model),
            "max_seq_len": scenario.max_length,
        },
        "checkpointer": {
            "_component_": "torchtune.training.FullModelHFCheckpointer",
            "checkpoint_dir": str(case.files.model),
            "checkpoint_files": ["model.safetensors"],
            "recipe_checkpoint": None,
            "output_dir": str(case.model_folder),
            "model_type": "LLAMA2",
        },
        "resume_from_checkpoint": False,
        "save_adapter_weights_only": True,
        "dataset": {
            "_component_": "torchtune.datasets.instruct_dataset",
            "source": "json",
            "data_files": str(case.folder / "rows.json"),
            "split": "train",
            "column_map": {"input": "prompt", "output": "completion"},
            "train_on_input": False,
            "packed": False,
        },
        "seed": case.seed,
        "shuffle": True,
        "batch_size": scenario.batch_size,
        "epochs": 1,
        "max_steps_per_epoch": scenario.steps,
        "gradient_accumulation_steps": 1,
        "optimizer": {"_component_": "torch.optim.AdamW", "lr": scenario.learning_rate, "weight_decay": 0.0},
        "optimizer_in_bwd": False,
        "loss": {"_component_": "torchtune.modules.loss.CEWithChunkedOutputLoss"},
        "clip_grad_norm": 1.0,
        "compile": False,
        "device": scenario.device,
        "dtype": "bf16" if scenario.bf16 or scenario.device == "cuda" else "fp32",
        "enable_activation_checkpointing": False,
        "enable_activation_offloading": False,
        "metric_logger": {
            "_component_": "torchtune.training.metric_logging.DiskLogger",
            "log_dir": str(case.folder / "logs"),
        },
        "log_every_n_steps": 1,
        "log_peak_memory_stats": False,
    }


def _beside(case: Case, command: str) -> str:
    return str(Path(case.python).parent / command)


def _write(case: Case, config: Mapping[str, Any]) -> str:
    file = case.folder / "config.yaml"
    file.write_text(yaml.safe_dump(dict(config), sort_keys=False), encoding="utf-8")
    return str(file)


def _litgpt_weights(case: Case) -> list[str]:
    return [case.python, "-m", "benchmarks.peer_files", str(case.files.model), str(case.folder / "litgpt")]


_NO_4_BIT = ("full", "lora")

PEER_SYSTEMS: Mapping[str, System] = {
    "llamafactory": System("LLaMA-Factory", llamafactory, ("llamafactory",), is_peer=True, methods=_NO_4_BIT),
    "litgpt": System(
        *("litgpt", litgpt, ("litgpt",)),
        is_peer=True,
        methods=_NO_4_BIT,
        prepare=_litgpt_weights,
        train_loss=lambda log: mean(_LITGPT_LOSS, log),
    ),
    "torchtune": System(
        *("torchtune", torchtune, ("torchtune", "torchao")),
        is_peer=True,
        methods=_NO_4_BIT,
        train_loss=lambda log: mean(_TORCHTUNE_LOSS, log),
        model=lambda case: case.model_folder / "epoch_0",
    ),
}


def mean(pattern: re.Pattern[str], log: str) -> float | None:
    """Return the mean of the numbers that a pattern finds; a step that a log shows more than once counts as often."""
    found = [float(number) for number in pattern.findall(log)]
    return sum(found) / len(found) if found else None
