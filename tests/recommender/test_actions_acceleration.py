from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from made_up_facts import CPU, LARGE, NOTHING, SMALL, TINY_LLAMA, decided, document, model

from tuning.recommender.actions.acceleration import FusedOpsPlugin, PaddingFreePlugin
from tuning.recommender.actions.batch import GradientCheckpointing
from tuning.recommender.actions.rows import Sampling
from tuning.recommender.engine import RuleEngine
from tuning.recommender.facts import Facts
from tuning.recommender.values import FUSED_OPS, PADDING_FREE

TOGETHER = RuleEngine([PaddingFreePlugin(), FusedOpsPlugin()])


def chosen(facts: Facts, **values: Any) -> tuple[bool, bool]:
    """Tell which of the two plugins act in the end."""
    final, _ = TOGETHER.run(document(**values), facts)
    return final.get(PADDING_FREE) == {}, final.get(FUSED_OPS) == {}


def of_type(model_type: str) -> Facts:
    return replace(SMALL, model=model({**TINY_LLAMA, "model_type": model_type}))


def test_on_a_cpu_both_plugins_act() -> None:
    assert chosen(SMALL) == (True, True)


@pytest.mark.parametrize("facts", [LARGE, NOTHING, replace(SMALL, model=None), of_type("a type of my own")])
def test_on_a_gpu_and_where_the_model_is_not_known_neither_acts(facts: Facts) -> None:
    assert chosen(facts) == (False, False)


@pytest.mark.parametrize(
    "values",
    [
        {"acceleration__use_acceleration": False},
        {"acceleration__plugins": {}},
        {"peft__peft_method": "alora"},
        {"peft__peft_method": "pt"},
        {"training__padding_free": False},
        {"training__packing": True},
        {"training__torch_compile": True},
        {"training__neftune_noise_alpha": 5.0},
        {"model__attn_implementation": "eager"},
        {"acceleration__plugins__training__attention__padding_free": False},
    ],
)
def test_what_the_user_says_keeps_padding_as_it_is(values: dict[str, Any]) -> None:
    assert chosen(SMALL, **values) == (False, False)


def test_a_plugin_of_the_users_own_stays_as_it_is() -> None:
    final, _ = TOGETHER.run(
        document(acceleration__plugins__training__fused_ops_and_kernels={"fast_loss": False}), SMALL
    )
    assert (final.get(PADDING_FREE), final.get(FUSED_OPS)) == ({}, {"fast_loss": False})


def test_each_plugin_says_what_it_gains() -> None:
    _, made = TOGETHER.run(document(), SMALL)
    assert all("times the tokens per second" in each.comment for each in made)
    assert all("benchmarks.run" in each.source for each in made)


def test_rows_without_padding_are_not_grouped_by_length() -> None:
    values = {"training__per_device_train_batch_size": 4, "peft__peft_method": "lora"}
    facts = replace(SMALL, data=LARGE.data)
    assert Sampling().apply(decided(**values), facts) is not None
    assert (
        Sampling().apply(decided(**values, acceleration__plugins__training__attention__padding_free={}), facts) is None
    )


def test_on_a_cpu_an_unknown_need_of_memory_does_not_leave_checkpointing_on() -> None:
    unknown = replace(NOTHING, hardware=CPU)
    made = GradientCheckpointing().apply(document(), unknown)
    assert made is not None and made.patch == {"training": {"gradient_checkpointing": False}}
    assert GradientCheckpointing().apply(document(), NOTHING) is None
