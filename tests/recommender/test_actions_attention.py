from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from made_up_facts import (
    CPU,
    EIGHT_GPUS,
    LARGE,
    LLAMA_8B,
    NOTHING,
    ONE_OLD_GPU,
    decided,
    document,
    gpus,
    model,
    written,
)

from tuning.config.ir import IR
from tuning.recommender.actions.attention import Attention
from tuning.recommender.engine import RuleEngine
from tuning.recommender.facts import Facts

BF16 = decided(training__bf16=True)
BOTH = frozenset({"flash_attn", "flash_attn_interface"})
AMPERE = replace(LARGE, kernels=BOTH)
HOPPER = replace(AMPERE, hardware=EIGHT_GPUS)


def llama(**fields: Any) -> Any:
    return model({**LLAMA_8B, **fields})


@pytest.mark.parametrize(
    ("facts", "ir", "implementation"),
    [
        (HOPPER, BF16, "flash_attention_3"),
        (AMPERE, BF16, "flash_attention_2"),
        (replace(HOPPER, kernels=frozenset({"flash_attn"})), BF16, "flash_attention_2"),
        (replace(AMPERE, hardware=gpus(1, 80, (10, 0))), BF16, "flash_attention_2"),
        (AMPERE, decided(training__fp16=True), "flash_attention_2"),
        (AMPERE, document(model__dtype="bfloat16"), "flash_attention_2"),
        (replace(AMPERE, model=llama(head_dim=256)), BF16, "flash_attention_2"),
        (replace(AMPERE, model=llama(head_dim=320)), BF16, None),
        (replace(AMPERE, model=llama(model_type="gpt_oss", num_local_experts=8)), BF16, None),
        (replace(AMPERE, model=llama(model_type="mamba")), BF16, None),
        (replace(AMPERE, model=llama(model_type="a type of my own")), BF16, None),
        (replace(AMPERE, kernels=frozenset()), BF16, None),
        (replace(AMPERE, kernels=frozenset({"flash_attn_interface"})), BF16, None),
        (AMPERE, IR(), None),
        (replace(AMPERE, hardware=ONE_OLD_GPU), decided(training__fp16=True), None),
        (replace(AMPERE, hardware=CPU), BF16, None),
        (replace(AMPERE, kernels=None), BF16, None),
        (replace(AMPERE, hardware=None), BF16, None),
        (replace(AMPERE, model=None), BF16, None),
        (NOTHING, BF16, None),
        (AMPERE, BF16.merge({"model": {"use_flash_attn": False}}, "command line"), None),
        (AMPERE, BF16.merge({"model": {"use_flash_attn": True}}, "command line"), None),
    ],
)
def test_flash_attention_is_taken_where_gpu_model_and_packages_allow_it(
    facts: Facts, ir: IR, implementation: str | None
) -> None:
    assert written(Attention().apply(ir, facts)).get("attn_implementation") == implementation


def test_the_users_attention_stays_and_the_advice_is_kept() -> None:
    ir = document(model__attn_implementation="sdpa", training__bf16=True)
    final, (made,) = RuleEngine([Attention()]).run(ir, AMPERE)
    assert final.get("model.attn_implementation") == "sdpa"
    assert [(told.user, told.suggested) for told in made.declined] == [("sdpa", "flash_attention_2")]
