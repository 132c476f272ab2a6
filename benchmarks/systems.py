"""The systems that are compared: how each is started on a scenario, how its log is read, and where its model is.

Fixed for all of them: model, rows, batch, longest sequence, steps, learning rate (constant), AdamW without decay, seed,
and the shape of the adapters. Whatever else a system decides is its own.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.scenario_files import Files
from benchmarks.scenarios import Scenario

LORA_R, LORA_ALPHA = 16, 32
BASELINES = ("trl-cli", "trl-fp32")
"""Systems that others are compared with: of those that were measured the first."""
_TRAIN_LOSS = re.compile(r"'train_loss': '?([\d.]+)")


@dataclass(frozen=True)
class Case:
    """One scenario, one seed, and the files and folder that a system gets for it."""

    scenario: Scenario
    files: Files
    folder: Path
    seed: int
    python: str = sys.executable

    @property
    def model_folder(self) -> Path:
        """Return the folder for the trained model."""
        return self.folder / "trained"

    @property
    def is_lora(self) -> bool:
        """Tell whether adapters are trained."""
        return self.scenario.method != "full"


@dataclass(frozen=True)
class System:
    """A way to train: the command, the packages that it needs, and how to read the loss in its log."""

    title: str
    command: Callable[[Case], list[str]]
    packages: tuple[str, ...] = ()
    is_peer: bool = False
    methods: tuple[str, ...] = ("full", "lora", "qlora")
    prepare: Callable[[Case], list[str]] | None = None
    """A command before the one that is measured, such as one that writes the weights in the system's own form."""
    train_loss: Callable[[str], float | None] = lambda log: last_number(_TRAIN_LOSS, log)
    model: Callable[[Case], Path] = lambda case: case.model_folder


def last_number(pattern: re.Pattern[str], log: str) -> float | None:
    """Return the number that a pattern finds last in a log."""
    found = pattern.findall(log)
    return float(found[-1]) if found else None


def ours(case: Case, plugins: str | Mapping[str, Any]) -> list[str]:
    """Write our configuration and return the command on it; only what is fixed for all is decided there."""
    scenario = case.scenario
    config: dict[str, Any] = {
        "model_name_or_path": str(case.files.model),
        "training_data_path": str(case.files.train),
        "output_dir": str(case.folder / "run"),
        "save_model_dir": str(case.model_folder),
        "per_device_train_batch_size": scenario.batch_size,
        "gradient_accumulation_steps": 1,
        "max_length": scenario.max_length,
        "max_steps": scenario.steps,
        "learning_rate": scenario.learning_rate,
        "lr_scheduler_type": "constant",
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "adam_beta2": 0.999,
        "adam_epsilon": 1e-8,
        "max_grad_norm": 1.0,
        "seed": case.seed,
        "validation_fraction": 0,
        "save_strategy": "no",
        "logging_steps": 1,
        "trackers": "none",
        "dataset_prepared_path": str(case.folder / "prepared"),
        "peft_method": "lora" if case.is_lora else "none",
    }
    if case.is_lora:
        config |= {"r": LORA_R, "lora_alpha": LORA_ALPHA, "lora_dropout": 0.0, "target_modules": "all-linear"}
    if scenario.method == "qlora":
        config["load_in_4bit"] = True
    if scenario.device == "cpu":
        config["use_cpu"] = True
    if isinstance(plugins, str):
        config |= {} if plugins == "recommended" else {"use_acceleration": False}
    else:
        config["acceleration"] = {"plugins": dict(plugins)}
    file = case.folder / "config.json"
    file.write_text(json.dumps(config, indent=1), encoding="utf-8")
    return [case.python, "-m", "tuning.sft_trainer", str(file)]


def trl(case: Case, *options: str, is_cli: bool = False) -> list[str]:
    """Return TRL's command with its own defaults, but for what is fixed for all and the given options."""
    scenario = case.scenario
    start = [str(Path(case.python).parent / "trl"), "sft"] if is_cli else [case.python, "-m", "trl.scripts.sft"]
    fixed: dict[str, Any] = {
        "model_name_or_path": case.files.model,
        "dataset_name": "json",
        "output_dir": case.model_folder,
        "per_device_train_batch_size": scenario.batch_size,
        "gradient_accumulation_steps": 1,
        "max_length": scenario.max_length,
        "max_steps": scenario.steps,
        "learning_rate": scenario.learning_rate,
        "lr_scheduler_type": "constant",
        "seed": case.seed,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": "true",
    }
    if scenario.device == "cpu":
        fixed["use_cpu"] = "true"
    if case.is_lora:
        fixed |= {"use_peft": "true", "lora_r": LORA_R, "lora_alpha": LORA_ALPHA, "lora_dropout": 0.0}
        fixed["lora_target_modules"] = "all-linear"
    if scenario.method == "qlora":
        fixed["load_in_4bit"] = "true"
    fixed["dataset_name"] = _folder_of_rows(case)
    return [*start, *(word for name, value in fixed.items() for word in (f"--{name}", str(value))), *options]


def _folder_of_rows(case: Case) -> Path:
    """Give TRL's command, which takes the name of a dataset, a folder with the training rows alone."""
    folder = case.folder / "rows"
    folder.mkdir(exist_ok=True)
    (folder / "train.jsonl").write_bytes(case.files.train.read_bytes())
    return folder


_PLAIN = ("--bf16", "false", "--gradient_checkpointing", "false")
_ON_A_GPU = ("--dtype", "bfloat16", "--gradient_checkpointing", "false")

OUR_SYSTEMS: Mapping[str, System] = {
    "tuning": System("tuning, as recommended", lambda case: ours(case, case.scenario.plugins)),
    "tuning-plain": System("tuning, plugins off", lambda case: ours(case, "none")),
}
TRL_SYSTEMS: Mapping[str, System] = {
    "trl-cli": System("TRL, `trl sft` by default", lambda case: trl(case, is_cli=True)),
    "trl-fp32": System("TRL, fp32, no checkpointing", lambda case: trl(case, *_PLAIN)),
    "trl-packing": System("TRL, packing", lambda case: trl(case, "--packing", "true")),
    "trl-bf16": System("TRL, bf16 weights, no checkpointing", lambda case: trl(case, *_ON_A_GPU)),
    "trl-flash": System(
        "TRL, FlashAttention, padding-free",
        lambda case: trl(case, *_ON_A_GPU, "--attn_implementation", "flash_attention_2", "--padding_free", "true"),
        ("flash_attn",),
    ),
    "trl-liger-flash": System(
        "TRL, Liger, FlashAttention",
        lambda case: trl(case, *_ON_A_GPU, "--attn_implementation", "flash_attention_2", "--use_liger_kernel", "true"),
        ("liger_kernel", "flash_attn"),
    ),
}


def systems() -> Mapping[str, System]:
    """Return every system by its name, ours first."""
    from benchmarks.peer_systems import PEER_SYSTEMS

    return {**OUR_SYSTEMS, **TRL_SYSTEMS, **PEER_SYSTEMS}


def baseline_of(names: Sequence[str]) -> str | None:
    """Choose what the others are compared with."""
    return next((name for name in BASELINES if name in names), None)
