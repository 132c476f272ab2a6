from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from made_up_facts import (
    CPU,
    LARGE,
    LLAMA_8B,
    NOTHING,
    ONE_OLD_GPU,
    SMALL,
    data,
    decided,
    document,
    gpus,
    model,
    written,
)

from tuning.config.ir import IR
from tuning.recommender.action import Level
from tuning.recommender.actions.quantization import Quantization
from tuning.recommender.engine import recommend
from tuning.recommender.facts import Facts
from tuning.recommender.hardware_facts import HardwareFacts

LORA: dict[str, Any] = {"peft__peft_method": "lora"}
BF16: dict[str, Any] = {**LORA, "training__bf16": True, "model__dtype": "bfloat16"}
ONE_16_GIB_GPU = gpus(1, 16, (8, 0))
NARROW = Facts(model(LLAMA_8B), data(2000, 500, 200), ONE_16_GIB_GPU)
DETAILS = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}


@pytest.mark.parametrize(
    ("facts", "ir"),
    [
        (NOTHING, decided(**LORA)),
        (SMALL, decided(**LORA)),
        (LARGE, decided(**BF16)),
        (replace(NARROW, model=None), decided(**BF16)),
        (replace(NARROW, hardware=None), decided(**BF16)),
        (NARROW, decided(peft__peft_method="none", training__bf16=True)),
        (NARROW, document(**BF16, quantization__load_in_8bit=True)),
        (NARROW, document(**BF16, model__train_from_scratch=True)),
        (replace(NARROW, model=model({**LLAMA_8B, "quantization_config": {"quant_method": "gptq"}})), decided(**BF16)),
    ],
)
def test_weights_that_fit_or_are_not_known_stay_as_they_are(facts: Facts, ir: IR) -> None:
    assert Quantization().apply(ir, facts) is None


@pytest.mark.parametrize(
    ("facts", "ir", "dtype"),
    [
        (NARROW, decided(**BF16), "bfloat16"),
        (
            replace(NARROW, hardware=ONE_OLD_GPU),
            decided(**LORA, training__fp16=True, model__dtype="float16"),
            "float16",
        ),
        (replace(NARROW, hardware=replace(CPU, ram_bytes=24 << 30)), decided(**LORA), "float32"),
    ],
)
def test_weights_that_do_not_fit_are_loaded_in_nf4(facts: Facts, ir: IR, dtype: str) -> None:
    made = Quantization().apply(ir, facts)
    assert written(made) == {"load_in_4bit": True, **DETAILS, "bnb_4bit_compute_dtype": dtype}
    assert made is not None and made.level is Level.SUGGESTION
    assert made.comment.startswith("1 row of 512 tokens needs about")


def test_who_asks_for_4_bits_gets_the_better_format() -> None:
    ir = document(quantization__load_in_4bit=True).merge({"training": {"bf16": True}}, "action MixedPrecision")
    assert written(Quantization().apply(ir, NOTHING)) == {**DETAILS, "bnb_4bit_compute_dtype": "bfloat16"}


def test_a_model_that_fits_in_no_format_is_told_of() -> None:
    made = Quantization().apply(decided(**BF16), replace(NARROW, hardware=gpus(1, 4, (8, 0))))
    assert made is not None and (made.patch, made.level) == ({}, Level.USER_INTERVENTION)
    assert "with weights in 4 bits still" in made.comment


def test_weights_that_are_quantized_already_are_not_quantized_again() -> None:
    quantized = model({**LLAMA_8B, "quantization_config": {"quant_method": "gptq", "bits": 4}})
    made = Quantization().apply(document(**BF16, quantization__load_in_4bit=True), replace(NARROW, model=quantized))
    assert made is not None and made.level is Level.USER_INTERVENTION
    assert made.comment.startswith("The weights are quantized already (gptq)")


def test_the_length_that_the_user_set_is_the_one_that_has_to_fit() -> None:
    tight = replace(NARROW, hardware=gpus(1, 24, (8, 0)))
    assert Quantization().apply(decided(**BF16), tight) is None
    assert written(Quantization().apply(document(**BF16, training__max_length=16384), tight))["load_in_4bit"] is True


def test_a_user_who_refuses_keeps_the_weights_whole_and_gets_the_advice() -> None:
    ir = document(peft__peft_method="lora", quantization__load_in_4bit=False)
    final, made = recommend(ir, NARROW)
    assert final.get("quantization.load_in_4bit") is False
    assert final.get("quantization.bnb_4bit_quant_type") is None
    assert "quantization.load_in_4bit" in {declined.path for found in made for declined in found.declined}


def test_asking_for_quantized_weights_asks_for_lora_but_not_over_the_users_head() -> None:
    assert recommend(document(quantization__load_in_4bit=True), NOTHING)[0].get("peft.peft_method") == "lora"
    assert recommend(document(peft__peft_method="none"), NARROW)[0].get("quantization.load_in_4bit") is None


def test_a_whole_completion_settles_on_quantized_weights_that_fit() -> None:
    final, made = recommend(document(peft__peft_method="lora"), NARROW)
    assert final.get("quantization.load_in_4bit") is True
    assert final.get("training.max_length") == 512
    assert "BatchSize" not in {found.action for found in made if found.level is Level.USER_INTERVENTION}


@pytest.mark.parametrize("hardware", [gpus(1, 16, (8, 0)), gpus(1, 8, (8, 0), num_shards=2)])
def test_weights_that_fsdp_divides_are_not_written_in_4_bits(hardware: HardwareFacts) -> None:
    ir = decided(**BF16).merge({"accelerate": {"distributed_type": "FSDP"}}, "command line")
    made = Quantization().apply(ir, replace(NARROW, hardware=hardware))
    assert made is not None and (made.patch, made.level) == ({}, Level.USER_INTERVENTION)
    assert "even divided (FSDP)" in made.comment


def test_what_is_divided_over_too_few_gpus_stays_whole_in_the_end() -> None:
    seventy = model({**LLAMA_8B, "hidden_size": 8192, "num_hidden_layers": 80, "intermediate_size": 28672})
    final, made = recommend(
        document(peft__peft_method="lora"), replace(NARROW, model=seventy, hardware=gpus(4, 24, (8, 6)))
    )
    assert final.get("accelerate.distributed_type") == "FSDP"
    assert final.get("quantization.load_in_4bit") is None
    assert any("such GPUs" in found.comment for found in made if found.action == "Distribution")
