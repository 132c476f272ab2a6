from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from made_up_facts import CPU, LARGE, LLAMA_8B, NOTHING, document, model, written

from tuning.config.ir import IR
from tuning.recommender.actions.kernels import LigerKernel
from tuning.recommender.engine import RuleEngine
from tuning.recommender.facts import Facts
from tuning.recommender.model_facts import ModelFacts

LIGER = frozenset({"liger_kernel"})


def known_to_liger(**fields: Any) -> ModelFacts:
    facts = model({**LLAMA_8B, **fields})
    return replace(facts, architecture=replace(facts.architecture, has_liger_kernels=True))


WITH_LIGER = replace(LARGE, model=known_to_liger(), kernels=LIGER)


@pytest.mark.parametrize(
    ("facts", "ir", "on"),
    [
        (WITH_LIGER, IR(), True),
        (replace(WITH_LIGER, kernels=frozenset({"flash_attn"})), IR(), None),
        (replace(WITH_LIGER, kernels=None), IR(), None),
        (replace(WITH_LIGER, model=LARGE.model), IR(), None),
        (replace(WITH_LIGER, model=None), IR(), None),
        (replace(WITH_LIGER, hardware=CPU), IR(), None),
        (replace(WITH_LIGER, hardware=None), IR(), None),
        (replace(WITH_LIGER, model=known_to_liger(model_type="mixtral", num_local_experts=8)), IR(), None),
        (NOTHING, IR(), None),
        (WITH_LIGER, document(training__torch_compile=True), None),
        (WITH_LIGER, document(training__model_init_kwargs={"use_kernels": True}), None),
        (WITH_LIGER, document(training__liger_kernel_config={"fused_linear_cross_entropy": True}), None),
        (WITH_LIGER, document(training__liger_kernel_config={"rope": False}), True),
    ],
)
def test_liger_is_used_where_it_knows_the_model_and_nothing_conflicts(facts: Facts, ir: IR, on: bool | None) -> None:
    assert written(LigerKernel().apply(ir, facts)).get("use_liger_kernel") is on


def test_the_users_refusal_stays_and_the_advice_is_kept() -> None:
    final, (made,) = RuleEngine([LigerKernel()]).run(document(training__use_liger_kernel=False), WITH_LIGER)
    assert final.get("training.use_liger_kernel") is False
    assert [(told.user, told.suggested) for told in made.declined] == [(False, True)]
