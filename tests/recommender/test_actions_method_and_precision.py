from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from made_up_facts import (
    CPU,
    CPU_WITH_BF16,
    EIGHT_GPUS,
    LARGE,
    LLAMA_8B,
    NOTHING,
    ONE_GPU,
    ONE_OLD_GPU,
    SMALL,
    decided,
    document,
    gpus,
    model,
    written,
)

from tuning.config.ir import IR
from tuning.recommender.action import Level
from tuning.recommender.actions.method import PeftMethod
from tuning.recommender.actions.precision import MixedPrecision, WeightsDtype
from tuning.recommender.facts import Facts
from tuning.recommender.hardware_facts import HardwareFacts

BF16 = {"bf16": True, "fp16": False}
FP16 = {"bf16": False, "fp16": True}
FLOAT32 = {"bf16": False, "fp16": False}
LORA: dict[str, Any] = {"peft__peft_method": "lora"}


@pytest.mark.parametrize(
    ("ir", "method"),
    [
        (IR(), "none"),
        (document(peft__r=8), "lora"),
        (document(peft__target_modules=["q_proj"]), "lora"),
        (decided(peft__r=8), "none"),
    ],
)
def test_the_method_follows_from_the_lora_fields_that_the_user_set(ir: IR, method: str) -> None:
    assert written(PeftMethod().apply(ir, NOTHING)) == {"peft_method": method}


@pytest.mark.parametrize("method", ["none", "lora"])
def test_a_method_that_was_chosen_needs_no_field_to_agree(method: str) -> None:
    assert PeftMethod().apply(document(peft__peft_method=method), NOTHING) is None


def test_quantized_weights_can_only_get_adapters() -> None:
    quantized = model({**LLAMA_8B, "quantization_config": {"quant_method": "gptq"}})
    made = PeftMethod().apply(IR(), Facts(model=quantized))
    assert written(made) == {"peft_method": "lora"}
    assert made is not None and made.level is Level.MANDATORY


@pytest.mark.parametrize(
    ("hardware", "ir", "expected"),
    [
        (None, IR(), {}),
        (HardwareFacts("other"), IR(), {}),
        (CPU, IR(), FLOAT32),
        (CPU_WITH_BF16, IR(), {**BF16, "use_cpu": True}),
        (CPU_WITH_BF16, document(training__use_cpu=False), FLOAT32),
        (EIGHT_GPUS, IR(), BF16),
        (ONE_OLD_GPU, document(training__use_cpu=True), FLOAT32),
        (ONE_GPU, IR(), BF16),
        (ONE_OLD_GPU, IR(), FP16),
        (gpus(1, 16, (6, 0)), IR(), FLOAT32),
        (replace(ONE_GPU, gpus=(replace(ONE_GPU.gpus[0], compute_capability=None),)), IR(), FLOAT32),
        (EIGHT_GPUS, document(training__fp16=True), {"bf16": False}),
        (ONE_OLD_GPU, document(training__bf16=True), {"fp16": False}),
        (EIGHT_GPUS, document(training__bf16=False), BF16),
    ],
)
def test_mixed_precision_is_what_the_hardware_multiplies_in(
    hardware: HardwareFacts | None, ir: IR, expected: dict[str, Any]
) -> None:
    assert written(MixedPrecision().apply(ir, Facts(hardware=hardware))) == expected


@pytest.mark.parametrize(
    ("facts", "ir", "dtype"),
    [
        (SMALL, IR(), "float32"),
        (NOTHING, IR(), "float32"),
        (SMALL, decided(**LORA), "float32"),
        (LARGE, decided(**LORA, training__bf16=True), "bfloat16"),
        (replace(LARGE, hardware=ONE_OLD_GPU), decided(**LORA, training__fp16=True), "float16"),
        (LARGE, decided(**LORA), "float32"),
    ],
)
def test_trained_weights_are_float32_and_frozen_ones_what_the_device_multiplies_in(
    facts: Facts, ir: IR, dtype: str
) -> None:
    made = WeightsDtype().apply(ir, facts)
    assert written(made) == {"dtype": dtype}
    assert made is not None and made.level is Level.SUGGESTION


@pytest.mark.parametrize("facts", [NOTHING, Facts(model=model({"quantization_config": {"quant_method": "gptq"}}))])
def test_frozen_weights_stay_as_they_are_where_nothing_says_what_suits_them(facts: Facts) -> None:
    assert WeightsDtype().apply(decided(**LORA), facts) is None


def test_training_all_weights_in_pure_bfloat16_is_never_silent() -> None:
    made = WeightsDtype().apply(decided(training__bf16=True, training__max_length=1024), LARGE)
    assert written(made) == {"dtype": "bfloat16"}
    assert made is not None and made.level is Level.USER_INTERVENTION
    assert "prefer LoRA" in made.comment
