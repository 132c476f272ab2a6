from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from made_up_facts import CPU, LARGE, NOTHING, ONE_GPU, ONE_OLD_GPU, SMALL, TINY_LLAMA, data, decided, document, model
from made_up_facts import written as values_of

from tuning.config.ir import IR
from tuning.recommender.action import Action
from tuning.recommender.actions.lora import LoraTargetModules
from tuning.recommender.actions.moe import ExpertAdapters, ExpertsImplementation, RouterAuxLoss
from tuning.recommender.engine import RuleEngine, recommend
from tuning.recommender.facts import Facts
from tuning.recommender.hardware_facts import HardwareFacts

LORA: dict[str, Any] = {"peft__peft_method": "lora"}
EXPERTS = ["experts.gate_up_proj", "experts.down_proj"]
MIXTRAL: dict[str, Any] = {**TINY_LLAMA, "model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}
QWEN_30B: dict[str, Any] = {
    "model_type": "qwen3_moe",
    "hidden_size": 2048,
    "num_hidden_layers": 48,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_experts": 128,
    "vocab_size": 151936,
    "max_position_embeddings": 32768,
}
TINY = Facts(model(MIXTRAL), data(2000), CPU)


def tiny(**fields: Any) -> Facts:
    return replace(TINY, model=model({**MIXTRAL, **fields}))


@pytest.mark.parametrize(
    ("facts", "ir", "parameters"),
    [
        (TINY, decided(**LORA), EXPERTS),
        (Facts(model(QWEN_30B), data(2000), ONE_GPU), decided(**LORA, model__dtype="bfloat16"), None),
        (replace(TINY, hardware=None), decided(**LORA), None),
        (TINY, document(**LORA, peft__lora_dropout=0.1), None),
        (TINY, document(**LORA, peft__use_dora=True), None),
        (TINY, document(**LORA, peft__target_modules=["q_proj"]), None),
    ],
)
def test_experts_get_adapters_where_there_is_memory_for_a_changed_copy(
    facts: Facts, ir: IR, parameters: list[str] | None
) -> None:
    written = values_of(ExpertAdapters().apply(ir, facts))
    assert written == {"target_modules": r".*\.(self_attn|linear_attn)\.\w*proj\w*", "target_parameters": parameters}


@pytest.mark.parametrize(
    ("facts", "ir"),
    [(TINY, IR()), (SMALL, decided(**LORA)), (LARGE, decided(**LORA)), (NOTHING, decided(**LORA))],
)
def test_without_adapters_or_experts_there_is_nothing_to_say(facts: Facts, ir: IR) -> None:
    assert ExpertAdapters().apply(ir, facts) is None


def test_a_model_type_that_is_not_known_is_left_to_peft() -> None:
    made = ExpertAdapters().apply(decided(**LORA), tiny(model_type="a type of my own"))
    assert values_of(made) == {"target_modules": "all-linear"}


def test_the_comment_says_why_experts_are_left_out() -> None:
    made = ExpertAdapters().apply(decided(**LORA), Facts(model(QWEN_30B), data(2000), ONE_GPU))
    assert made is not None
    assert "not on experts: a changed copy of them needs about" in made.comment
    assert made.comment.endswith("The router stays as it is.")


def test_the_users_modules_stay_and_the_advice_is_kept() -> None:
    actions: list[Action] = [LoraTargetModules(), ExpertAdapters()]
    final, (made,) = RuleEngine(actions).run(document(**LORA, peft__target_modules=["q_proj"]), TINY)
    assert final.get("peft.target_modules") == ["q_proj"]
    assert final.get("peft.target_parameters") is None
    assert [(told.path, told.user) for told in made.declined] == [("peft.target_modules", ["q_proj"])]


@pytest.mark.parametrize(
    ("facts", "hardware", "implementation"),
    [
        (TINY, CPU, "grouped_mm"),
        (TINY, ONE_GPU, "grouped_mm"),
        (TINY, ONE_OLD_GPU, None),
        (TINY, HardwareFacts("other"), None),
        (TINY, None, None),
        (tiny(model_type="llama4_text"), CPU, None),
        (tiny(model_type="a type of my own"), CPU, None),
        (SMALL, CPU, None),
        (NOTHING, CPU, None),
    ],
)
def test_experts_are_multiplied_at_once_where_device_and_model_can(
    facts: Facts, hardware: HardwareFacts | None, implementation: str | None
) -> None:
    made = ExpertsImplementation().apply(IR(), replace(facts, hardware=hardware))
    assert values_of(made).get("experts_implementation") == implementation


@pytest.mark.parametrize(
    ("facts", "ir", "weight"),
    [
        (TINY, decided(**LORA), 0.0),
        (TINY, IR(), None),
        (tiny(router_aux_loss_coef=0.02), IR(), 0.01),
        (tiny(router_aux_loss_coef=0.005), IR(), None),
        (tiny(model_type="deepseek_v3"), decided(**LORA), None),
        (tiny(model_type="granitemoehybrid"), decided(**LORA), None),
        (SMALL, decided(**LORA), None),
        (NOTHING, decided(**LORA), None),
    ],
)
def test_the_balance_of_the_router_weighs_little_and_nothing_where_it_is_frozen(
    facts: Facts, ir: IR, weight: float | None
) -> None:
    assert values_of(RouterAuxLoss().apply(ir, facts)).get("router_aux_loss_coef") == weight


@pytest.mark.parametrize(
    ("action", "path", "given"),
    [
        (ExpertsImplementation(), "model__experts_implementation", "eager"),
        (RouterAuxLoss(), "training__router_aux_loss_coef", 0.5),
    ],
)
def test_the_users_value_stays_and_the_advice_is_kept(action: Action, path: str, given: Any) -> None:
    final, (made,) = RuleEngine([action]).run(document(**LORA, **{path: given}), TINY)
    assert final.get(path.replace("__", ".")) == given
    assert [told.user for told in made.declined] == [given]


@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["mixtral", "qwen3_moe", "gpt_oss", "phimoe", "glm4_moe"])
def test_peft_adapts_attention_and_experts_and_no_router(model_type: str) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    sizes = {"num_experts": 8, "n_routed_experts": 8, "moe_intermediate_size": 16, "head_dim": 16, "n_group": 1}
    shape = {**MIXTRAL, **sizes, "model_type": model_type, "topk_group": 1, "first_k_dense_replace": 0}
    final, _ = recommend(document(**LORA), replace(TINY, model=model(shape)))
    fields = {name: value for name, value in final.values["peft"].items() if name != "peft_method"}
    config = CONFIG_MAPPING[model_type](**{name: size for name, size in shape.items() if name != "model_type"})
    adapted = get_peft_model(AutoModelForCausalLM.from_config(config), LoraConfig(task_type="CAUSAL_LM", **fields))
    adapted(input_ids=torch.arange(8)[None], labels=torch.arange(8)[None]).loss.backward()
    trained = [name for name, parameter in adapted.named_parameters() if parameter.grad is not None]
    assert any("experts" in name for name in trained) and any("q_proj" in name for name in trained)
    assert not any("router" in name or ".gate." in name for name in trained)
