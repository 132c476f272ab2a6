"""The key table of the founding document about AutoTuning, as a configuration."""

from __future__ import annotations

from typing import Any

import pytest

from tuning.config.building import build_config
from tuning.config.loading import load_mapping
from tuning.errors import ConfigError
from tuning.job import load_config

SEED = {
    "ModelName": "gpt2",
    "FineTuningType": "question_answering",
    "DatasetPath": "rows.jsonl",
    "ModelSeqMaxLength": 512,
    "SaveFormat": "gguf",
    "ModelDir": "out",
    "EvalSaveFormat": "csv",
    "FSDP": False,
}


def test_its_keys_are_fields() -> None:
    config = build_config(load_mapping(SEED).ir)
    assert (config.model.model_name_or_path, config.data.task_type) == ("gpt2", "question_answering")
    assert config.data.training_data_path == ["rows.jsonl"]
    assert (config.training.max_length, config.training.output_dir) == (512, "out")
    assert (config.export.export_formats, config.evaluation.eval_save_format) == (["gguf"], "csv")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"PeftType": "LORA"}, ("lora", None, None)),
        ({"PeftType": "QLORA"}, ("lora", True, None)),
        ({"PeftType": "LORA", "QuantizationType4Bit8Bit": "8bit"}, ("lora", None, True)),
        ({"PeftType": "LORA", "QuantizationType4Bit8Bit": "4bit"}, ("lora", True, None)),
    ],
)
def test_methods_and_bits_are_told_apart(given: dict[str, Any], expected: tuple[Any, ...]) -> None:
    config = build_config(load_mapping({**SEED, **given}).ir)
    found = (config.peft.peft_method, config.quantization.load_in_4bit, config.quantization.load_in_8bit)
    assert tuple(value or None for value in found) == expected


def test_a_wrong_value_is_told_under_the_key_that_was_written() -> None:
    with pytest.raises(ValueError, match=r"peft\.peft_method: got 'LROA'"):
        build_config(load_mapping({**SEED, "PeftType": "LROA"}).ir)


def test_a_token_is_passed_over_and_told_of_without_its_value(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ConfigError):  # there is no such model
        load_config({**SEED, "ModelName": "./nowhere", "HfToken": "hf_abcdefghijABCDEFGHIJ0123"})
    assert "training.hub_token (from argument) is passed over: set HF_TOKEN" in caplog.text
    assert "hf_abc" not in caplog.text
