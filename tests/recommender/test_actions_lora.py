from __future__ import annotations

from typing import Any

import pytest
from made_up_facts import LARGE, LLAMA_8B, NOTHING, SMALL, data, decided, document, model, written

from tuning.config.ir import IR
from tuning.recommender.action import Action
from tuning.recommender.actions.lora import LoraAlpha, LoraDropout, LoraRank, LoraTargetModules
from tuning.recommender.facts import Facts

LORA: dict[str, Any] = {"peft__peft_method": "lora"}


@pytest.mark.parametrize("action", [LoraRank(), LoraAlpha(), LoraDropout(), LoraTargetModules()])
@pytest.mark.parametrize("ir", [IR(), document(peft__peft_method="none")])
def test_without_lora_its_fields_are_left_alone(action: Action, ir: IR) -> None:
    assert action.apply(ir, SMALL) is None


@pytest.mark.parametrize(
    ("facts", "rank"),
    [
        (NOTHING, 16),
        (Facts(model=model(LLAMA_8B)), 16),
        (LARGE, 16),
        (Facts(model(LLAMA_8B), data(10**6, 1000, 1000)), 256),
        (Facts(model(LLAMA_8B), data(2 * 10**5, 1000, 1000)), 64),
        (SMALL, 16),
        (Facts(SMALL.model, data(10**6, 1000, 1000)), 16),
    ],
)
def test_the_rank_holds_what_the_rows_teach_and_stays_low(facts: Facts, rank: int) -> None:
    assert written(LoraRank().apply(decided(**LORA), facts)) == {"r": rank}


@pytest.mark.parametrize(
    ("ir", "alpha"),
    [
        (decided(**LORA), 32),
        (decided(**LORA, peft__r=256), 32),
        (document(**LORA, peft__use_rslora=True, peft__r=16), 8.0),
        (document(**LORA, peft__use_rslora=True, peft__r=64), 4.0),
    ],
)
def test_alpha_gives_the_scale_that_the_learning_rates_were_measured_at(ir: IR, alpha: float) -> None:
    assert written(LoraAlpha().apply(ir, NOTHING)) == {"lora_alpha": alpha}


def test_every_linear_layer_gets_an_adapter_without_dropout() -> None:
    assert written(LoraTargetModules().apply(decided(**LORA), NOTHING)) == {"target_modules": "all-linear"}
    assert written(LoraDropout().apply(decided(**LORA), NOTHING)) == {"lora_dropout": 0.0}
