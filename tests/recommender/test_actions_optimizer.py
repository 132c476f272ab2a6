from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from made_up_facts import LARGE, LLAMA_8B, NOTHING, SMALL, decided, document, model, written

from tuning.config.ir import IR
from tuning.recommender.actions.optimizer import LearningRate, Optimizer, Scheduler, Warmup, WeightDecay
from tuning.recommender.facts import Facts
from tuning.recommender.hardware_facts import HardwareFacts
from tuning.recommender.model_facts import ModelFacts


def of_size(num_parameters: float) -> Facts:
    return Facts(ModelFacts(num_parameters=int(num_parameters)))


def run(method: str = "none", batch: int = 128, steps: int = 1000, **more: Any) -> IR:
    values = {"training__per_device_train_batch_size": batch, "training__max_steps": steps, **more}
    return decided(peft__peft_method=method, **values)


@pytest.mark.parametrize(
    ("ir", "facts", "rate"),
    [
        (run("lora"), of_size(8e9), 3e-4),
        (run("lora"), of_size(1e9), 8.5e-4),
        (run("lora"), of_size(70e9), 2e-4),
        (run("lora", batch=16), of_size(8e9), 1.6e-4),
        (run("lora", batch=16), of_size(1e9), 4.7e-4),
        (run("lora", batch=8), of_size(8e5), 8e-3),
        (run("lora", steps=99), of_size(8e9), 4.5e-4),
        (run(), of_size(8e9), 3e-5),
        (run(batch=64), of_size(8e9), 2.1e-5),
        (run(batch=16), of_size(0.94e6), 3.8e-3),
        (run(), of_size(1e12), 5e-6),
        (run(batch=4096), of_size(8e9), 4.5e-5),
        (run(), NOTHING, 3e-5),
        (run("ia3"), of_size(8e9), 3e-3),
        (IR(), NOTHING, 3e-5),
        (decided(peft__peft_method="lora"), NOTHING, 3e-4),
    ],
)
def test_the_rate_follows_method_size_batch_and_steps(ir: IR, facts: Facts, rate: float) -> None:
    assert written(LearningRate().apply(ir, facts)) == {"learning_rate": rate}


@pytest.mark.parametrize(
    ("num_parameters", "rate"), [(0.17e6, 5.4e-3), (0.93e6, 3.1e-3), (125e6, 6e-4), (13e9, 1.3e-4), (1e12, 1e-4)]
)
def test_random_weights_take_larger_rates(num_parameters: float, rate: float) -> None:
    made = LearningRate().apply(document(model__train_from_scratch=True), of_size(num_parameters))
    assert written(made) == {"learning_rate": rate}


def test_random_weights_of_unknown_number_have_no_rate() -> None:
    assert LearningRate().apply(document(model__train_from_scratch=True), NOTHING) is None


def test_the_comment_tells_the_numbers_that_were_used() -> None:
    made = LearningRate().apply(run("lora", batch=16, steps=50), Facts(model(LLAMA_8B)))
    assert made is not None
    assert made.comment == (
        "LoRA fine-tuning of 8.03 billion parameters: 0.0003 was the best of Llama 3.1 8B with LoRA at batch 128, "
        "0.00016 with 16 sequences per update, 1.5 times that for only 50 steps."
    )


def test_a_model_of_no_measured_family_follows_the_formula() -> None:
    made = LearningRate().apply(run("lora"), of_size(1e9))
    assert made is not None
    assert made.comment == (
        "LoRA fine-tuning of 1 billion parameters: 0.0003 at 8 billion and batch 128, 0.00085 at this size, 0.00085 "
        "with 128 sequences per update."
    )


@pytest.mark.parametrize(("method", "rate"), [("lora", 1e-3), ("none", 1e-4)])
def test_a_measured_family_takes_its_own_rate_and_a_tenth_of_it_in_full(method: str, rate: float) -> None:
    facts = Facts(ModelFacts(model_type="qwen3", num_parameters=8_190_000_000))
    assert written(LearningRate().apply(run(method), facts)) == {"learning_rate": rate}


@pytest.mark.parametrize(
    ("ir", "scheduler"), [(run(steps=49), "constant_with_warmup"), (run(steps=50), "cosine"), (IR(), "cosine")]
)
def test_the_rate_falls_where_there_is_time_for_it(ir: IR, scheduler: str) -> None:
    assert written(Scheduler().apply(ir, NOTHING)) == {"lr_scheduler_type": scheduler}


@pytest.mark.parametrize(
    ("ir", "warmup"), [(run(steps=1), 1), (run(steps=225), 7), (run(steps=10**6), 100), (IR(), 0.03)]
)
def test_the_rate_rises_over_three_percent_of_the_steps(ir: IR, warmup: float) -> None:
    assert written(Warmup().apply(ir, NOTHING)) == {"warmup_steps": warmup}


@pytest.mark.parametrize(
    ("facts", "optim"),
    [
        (SMALL, "adamw_torch_fused"),
        (LARGE, "adamw_torch_fused"),
        (NOTHING, None),
        (replace(SMALL, hardware=HardwareFacts("other")), None),
    ],
)
def test_the_fused_optimizer_runs_where_torch_has_one(facts: Facts, optim: str | None) -> None:
    assert written(Optimizer().apply(IR(), facts)).get("optim") == optim


@pytest.mark.parametrize(
    ("ir", "decay"), [(IR(), 0.01), (run("lora"), 0.0), (document(model__train_from_scratch=True), 0.1)]
)
def test_decay_depends_on_what_is_trained(ir: IR, decay: float) -> None:
    assert written(WeightDecay().apply(ir, NOTHING)) == {"weight_decay": decay}
