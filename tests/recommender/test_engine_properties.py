from __future__ import annotations

import contextlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonpatch
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up_facts import (
    CPU,
    CPU_WITH_BF16,
    EIGHT_GPUS,
    LLAMA_8B,
    NOTHING,
    ONE_OLD_GPU,
    TINY_LLAMA,
    data,
    document,
    model,
)

from tuning.config.building import build_config
from tuning.config.ir import IR, merge_patch, nested
from tuning.errors import ConfigError
from tuning.recommender.actions import load_actions
from tuning.recommender.engine import RuleEngine
from tuning.recommender.facts import Facts
from tuning.recommender.patches import explained_patch

REQUIRED = {
    "model": {"model_name_or_path": "model"},
    "data": {"training_data_path": ["rows.jsonl"]},
    "training": {"output_dir": "run"},
}
CHOICES: dict[str, list[Any]] = {
    "data.validation_data_path": [["held_out.jsonl"]],
    "data.validation_fraction": [0.0, 0.2],
    "model.attn_implementation": ["sdpa", "flash_attention_2", "flex_attention"],
    "model.dtype": ["float32", "bfloat16", "auto"],
    "model.train_from_scratch": [True, False],
    "peft.peft_method": ["none", "lora"],
    "peft.r": [1, 64],
    "peft.lora_alpha": [16],
    "peft.lora_dropout": [0.1],
    "peft.target_modules": ["all-linear", ["q_proj", "v_proj"], ["q_proj", "lm_head"]],
    "peft.use_rslora": [True],
    "recommender.strict": [True],
    "training.assistant_only_loss": [True],
    "quantization.load_in_4bit": [True, False],
    "quantization.load_in_8bit": [True, False],
    "quantization.bnb_4bit_quant_type": ["fp4"],
    "training.bf16": [True, False],
    "training.dataloader_num_workers": [0, 1],
    "training.dataloader_prefetch_factor": [2],
    "training.fp16": [True, False],
    "training.use_cpu": [True, False],
    "training.eval_strategy": ["no", "steps", "epoch"],
    "training.eval_steps": [7, 0.25],
    "training.gradient_accumulation_steps": [1, 3],
    "training.gradient_checkpointing": [True, False],
    "training.gradient_checkpointing_kwargs": [
        {"use_reentrant": True},
        {"determinism_check": "none"},
        {"selective": True, "use_reentrant": True},
    ],
    "training.learning_rate": [1e-5, 1e-2],
    "training.load_best_model_at_end": [True],
    "training.logging_steps": [1, 0.1],
    "training.logging_strategy": ["epoch"],
    "training.lr_scheduler_type": ["linear", "reduce_lr_on_plateau"],
    "training.max_length": [16, 100_000],
    "training.max_steps": [-1, 1, 5000],
    "training.num_train_epochs": [0.5, 10],
    "training.packing": [True, False],
    "training.padding_free": [True],
    "training.per_device_train_batch_size": [1, 7],
    "training.save_steps": [11, 0.5],
    "training.router_aux_loss_coef": [0.01],
    "training.save_strategy": ["no", "steps", "epoch", "best"],
    "training.tf32": [True],
    "training.train_sampling_strategy": ["sequential"],
    "training.warmup_steps": [0, 0.5],
    "training.weight_decay": [0.3],
}
GPT2 = {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 2, "vocab_size": 400, "n_positions": 512}
FACTS = st.builds(
    Facts,
    st.sampled_from([None, model(TINY_LLAMA), model(LLAMA_8B), model(GPT2), model({})]),
    st.sampled_from([None, data(2), data(300, 5, 5), data(700, 9000, 1), data(100_000)]),
    st.sampled_from([None, CPU, CPU_WITH_BF16, EIGHT_GPUS, ONE_OLD_GPU]),
)


@st.composite
def documents(draw: st.DrawFn) -> IR:
    """Draw a document whose user set any of the fields."""
    names = draw(st.lists(st.sampled_from(sorted(CHOICES)), unique=True, max_size=8))
    if "data.validation_data_path" in names:
        names = [name for name in names if name != "data.validation_fraction"]  # the two exclude each other
    if any(name.startswith("peft.") for name in names):
        names = [name for name in names if name != "model.train_from_scratch"]  # refused, whatever is recommended
    values: dict[str, Any] = REQUIRED
    for name in names:
        values = merge_patch(values, nested(name, draw(st.sampled_from(CHOICES[name]))))
    if values["data"].get("validation_fraction") == 0.0:
        values = merge_patch(values, nested("training.load_best_model_at_end", None))  # refused in any case
    return IR.of(values, "command line")


def is_valid(ir: IR) -> bool:
    with contextlib.suppress(ConfigError):
        build_config(ir)
        return True
    return False


def run(ir: IR, facts: Facts) -> tuple[IR, list[Any]]:
    """Complete a document; where strictness refuses it, complete it without."""
    engine = RuleEngine(load_actions())
    try:
        return engine.run(ir, facts)
    except ConfigError as error:
        assert ir.get("recommender.strict") is True
        assert all(problem.source == "command line" for problem in error.problems)
        return engine.run(ir.merge({"recommender": {"strict": False}}, "command line"), facts)


few = settings(max_examples=20, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
many = settings(few, max_examples=400)


def keeps_what_is_the_users(ir: IR, outcome: tuple[IR, list[Any]]) -> bool:
    """Tell whether all that the user set stays, but for what is said to make the run crash."""
    final, recommendations = outcome
    crashes = {replaced.path for made in recommendations for replaced in made.overridden}
    kept = {path for path in ir.sources if path not in {*crashes, "recommender.strict"}}
    return all((final.get(path), final.sources[path]) == (ir.get(path), "command line") for path in kept)


def as_bytes(outcome: tuple[IR, list[Any]]) -> str:
    final, recommendations = outcome
    told = [made.to_dict() for made in recommendations]
    return json.dumps([final.values, final.sources, told], allow_nan=False)


def patched(ir: IR, recommendations: list[Any]) -> Any:
    values: Any = ir.values
    for made in recommendations:
        values = jsonpatch.apply_patch(values, [dict(operation) for operation in made.json_patch])
    return values


def without_strict(values: Any) -> Any:
    return merge_patch(values, nested("recommender", None))


@few
@given(documents(), FACTS)
def test_what_the_user_set_never_changes(ir: IR, facts: Facts) -> None:
    assert keeps_what_is_the_users(ir, run(ir, facts))


@few
@given(documents(), FACTS)
def test_completing_twice_changes_nothing_more(ir: IR, facts: Facts) -> None:
    final, _ = run(ir, facts)
    again, recommendations = run(final, facts)
    assert again == final
    assert all(not made.json_patch for made in recommendations)


@few
@given(documents(), FACTS)
def test_the_json_patches_in_order_make_the_final_values_from_the_original(ir: IR, facts: Facts) -> None:
    final, recommendations = run(ir, facts)
    assert without_strict(patched(ir, recommendations)) == without_strict(final.values)
    assert without_strict(jsonpatch.apply_patch(ir.values, explained_patch(recommendations))) == without_strict(
        final.values
    )


@few
@given(documents(), FACTS)
def test_a_valid_document_stays_valid(ir: IR, facts: Facts) -> None:
    assert is_valid(run(ir, facts)[0]) or not is_valid(ir)


@few
@given(documents(), FACTS)
def test_the_same_input_gives_the_same_bytes(ir: IR, facts: Facts) -> None:
    assert as_bytes(run(ir, facts)) == as_bytes(run(ir, facts))


@few
@given(documents(), FACTS)
def test_what_would_crash_is_refused_under_strict_and_replaced_otherwise(ir: IR, facts: Facts) -> None:
    engine = RuleEngine(load_actions())
    lenient = ir.merge({"recommender": {"strict": False}}, "command line")
    _, recommendations = engine.run(lenient, facts)
    try:
        _, strictly = engine.run(ir.merge({"recommender": {"strict": True}}, "command line"), facts)
    except ConfigError:
        assert any(made.overridden for made in recommendations)
    else:
        assert not any(made.overridden for made in [*recommendations, *strictly])


@pytest.mark.parametrize("times", [1, pytest.param(8, marks=pytest.mark.slow)])
def test_up_to_two_hundred_runs_of_one_engine_at_once_give_the_bytes_of_one_alone(times: int) -> None:
    engine, facts = RuleEngine(load_actions()), Facts(model(GPT2), data(700), CPU)
    asked = [document(training__max_length=length, training__bf16=True) for length in range(500, 525)]
    alone = [as_bytes(RuleEngine(load_actions()).run(ir, facts)) for ir in asked]
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda ir: as_bytes(engine.run(ir, facts)), asked * times))
    assert together == alone * times


@pytest.mark.slow
@many
@given(documents(), FACTS)
def test_all_of_this_holds_for_many_documents(ir: IR, facts: Facts) -> None:
    final, recommendations = run(ir, facts)
    again, _ = run(final, facts)
    assert keeps_what_is_the_users(ir, (final, recommendations))
    assert again == final
    assert without_strict(patched(ir, recommendations)) == without_strict(final.values)
    assert is_valid(final) or not is_valid(ir)


def test_nothing_known_and_nothing_set_still_gives_a_valid_document() -> None:
    final, recommendations = run(IR.of(REQUIRED, "file"), NOTHING)
    assert is_valid(final)
    assert all(made.comment.endswith(".") and made.source for made in recommendations)
