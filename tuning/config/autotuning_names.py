"""The keys of AutoTuning's `global_config`, by which seed 001 describes a run, as fields of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

AUTOTUNING: Mapping[str, str] = {
    "DatasetPath": "data.training_data_path",
    "EvalSaveFormat": "evaluation.eval_save_format",
    "FineTuningType": "data.task_type",
    "HfToken": "training.hub_token",
    "ModelDir": "training.output_dir",
    "ModelName": "model.model_name_or_path",
    "ModelSeqMaxLength": "training.max_length",
    "PeftType": "peft.peft_method",
    "QuantizationType4Bit8Bit": "quantization.load_in_4bit",
    "SaveFormat": "export.export_formats",
}
"""Key -> the path of the field; two of them may stand for more, by their values."""


def settings_of_autotuning(key: str, value: Any) -> list[tuple[str, Any]] | None:
    """Return the paths and values that a key and its value stand for; None: it is no key of AutoTuning's."""
    if key not in AUTOTUNING:
        return None
    word = value.lower() if isinstance(value, str) else value
    if key == "PeftType" and word == "qlora":
        return [("peft.peft_method", "lora"), ("quantization.load_in_4bit", True)]
    if key == "QuantizationType4Bit8Bit" and word in ("4bit", "8bit"):
        return [(f"quantization.load_in_{word}", True)]
    return [(AUTOTUNING[key], value)]
