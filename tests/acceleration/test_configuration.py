"""What a whole configuration refuses beside a plugin, before torch is imported."""

from __future__ import annotations

from typing import Any

import pytest

from tuning.acceleration.configuration import unusable_plugins
from tuning.config.schema import TuningConfig

PADDING_FREE = {"training": {"attention": {"padding_free": {}}}}
BITSANDBYTES = {"peft": {"quantization": {"bitsandbytes": {}}}}
GPTQ = {"peft": {"quantization": {"auto_gptq": {}}}}


def problems(plugins: dict[str, Any], **sections: dict[str, Any]) -> list[str]:
    config = TuningConfig.model_validate({"acceleration": {"plugins": plugins}, **sections})
    return [f"{each.path}: {each.expected}" for each in unusable_plugins(config)]


@pytest.mark.parametrize("method", ["pt", "alora"])
def test_methods_that_act_once_in_a_sequence_are_not_trained_without_padding(method: str) -> None:
    path = "acceleration.plugins.training.attention.padding_free"
    assert problems(PADDING_FREE, peft={"peft_method": method}) == [
        f"{path}: {method} needs each row in a sequence of its own"
    ]
    assert not problems(PADDING_FREE, peft={"peft_method": "lora"})


@pytest.mark.parametrize("plugins", [BITSANDBYTES, GPTQ])
def test_quantized_weights_are_not_trained_whole(plugins: dict[str, Any]) -> None:
    (told,) = problems(plugins, peft={"peft_method": "none"})
    assert told == "peft.peft_method: quantized weights cannot be trained; adapters on them can"
    assert not problems(plugins, peft={"peft_method": "lora"})


@pytest.mark.parametrize("plugins", [BITSANDBYTES, GPTQ])
def test_random_weights_are_not_loaded_by_a_plugin(plugins: dict[str, Any]) -> None:
    (told,) = problems(plugins, model={"train_from_scratch": True}, peft={"peft_method": "none"})
    assert told.endswith("loads weights; train_from_scratch loads none")


def test_weights_are_quantized_once() -> None:
    (told,) = problems(BITSANDBYTES, quantization={"load_in_4bit": True}, peft={"peft_method": "lora"})
    assert told.endswith("quantization.load_in_4bit asks for quantized weights, too")
