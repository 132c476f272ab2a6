"""Train one case of the recommender's trials in every way, one after another, in a process of its own."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.recommended_cases import CASES, Case

STEPS = 100
SWEEP = (0.25, 0.5, 2.0, 4.0)
OURS, PUBLIC, TRL = "ours", "public recommender", "TRL's defaults"

SAME_FOR_ALL: Mapping[str, Any] = {
    "max_steps": STEPS,
    "seed": 0,
    "per_device_train_batch_size": 8,
    "gradient_accumulation_steps": 1,
    "max_length": 256,
    "bf16": False,
    "dtype": "float32",
    "use_cpu": True,
    "gradient_checkpointing": False,
    "eval_strategy": "no",
    "save_strategy": "no",
    "dataloader_pin_memory": False,
    "logging_steps": 10,
}
"""What does not differ between the ways: steps, seed, rows per step, tokens per row, precision."""

PUBLIC_VALUES: Mapping[str, Any] = {
    "learning_rate": 1e-6,
    "lr_scheduler_type": "linear",
    "warmup_steps": 200,
    "adam_beta1": 0.9,
    "adam_beta2": 0.98,
    "adam_epsilon": 1e-10,
    "weight_decay": 0.1,
}
PUBLIC_LORA: Mapping[str, Any] = {
    "r": 8,
    "lora_alpha": 8,
    "lora_dropout": 0.1,
    "target_modules": "all-linear",
    "modules_to_save": ["lm_head"],
}
"""What tuning-config-recommender 0.1.7 fills in; its second module to save, embed_token, is in no model."""
TRL_LORA: Mapping[str, Any] = {"r": 16, "lora_alpha": 32, "lora_dropout": 0.05}
"""The defaults of `trl sft --use_peft`; the rest of its defaults are those of SFTConfig."""


def ways(case: Case) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the name and the settings of each way but ours and those around it."""
    is_lora = case.method == "lora"
    yield PUBLIC, {"recommend": False, **PUBLIC_VALUES, **(PUBLIC_LORA if is_lora else {})}
    yield TRL, {"recommend": False, **(TRL_LORA if is_lora else {})}


def held_out_loss(settings: Mapping[str, Any]) -> tuple[float, dict[str, Any]]:
    """Train through the product; returns the final loss on the held-out rows and the completed settings."""
    from tuning.sft_trainer import load_config, train

    with tempfile.TemporaryDirectory() as folder:
        job = load_config({**SAME_FOR_ALL, **settings, "output_dir": f"{folder}/run"})
        result = train(job)
    return result.metrics["eval_loss"], job.config.model_dump()


def try_ways(case: Case, folder: Path) -> Iterator[dict[str, Any]]:
    """Train in our way, in the others, and in ours with other learning rates; yield one record for each."""
    about = {
        "model_name_or_path": str(folder / case.model / "trained"),
        "training_data_path": str(folder / f"{case.task}.train.jsonl"),
        "validation_data_path": str(folder / f"{case.task}.held-out.jsonl"),
        "peft_method": case.method,
        "trackers": "none",
    }
    loss, completed = held_out_loss(about)
    rate = completed["training"]["learning_rate"]
    yield {"way": OURS, "learning_rate": rate, "loss": loss}
    for way, settings in ways(case):
        loss, used = held_out_loss({**about, **settings})
        yield {"way": way, "learning_rate": used["training"]["learning_rate"], "loss": loss}
    for factor in SWEEP:
        loss, _ = held_out_loss({**about, "learning_rate": rate * factor})
        yield {"way": f"{factor:g}", "learning_rate": rate * factor, "loss": loss}


def main(argv: list[str]) -> int:
    """Print one JSON line for each way of a case: `python -m benchmarks.recommended_training NAME FOLDER`."""
    name, folder = argv
    case = next(case for case in CASES if case.name == name)
    for record in try_ways(case, Path(folder)):
        print("RECORD", json.dumps(record), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
