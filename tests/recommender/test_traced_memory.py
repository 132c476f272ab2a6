from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from made_up_facts import LLAMA_8B

from benchmarks.memory import (
    ESTIMATED_GATE,
    TRACED_GATE,
    Compared,
    Gate,
    compare,
    estimated,
    measured_on_cpu,
    traced,
)
from benchmarks.memory_cases import SMALL_GPT2, SMALL_LLAMA, SMALL_QWEN3, Case
from tuning.errors import UserError
from tuning.recommender.memory import MemoryParts, Step
from tuning.recommender.traced_memory import highest, traced_memory

STEP = Step(rows=2, length=256, dtype_bytes=2)
SMALL_STEPS: list[dict[str, Any]] = [
    {"dtype_bytes": 4},
    {"dtype_bytes": 4, "autocast": True, "gradient_checkpointing": True},
    {"r": 8, "length": 1024},
    {"r": 8, "autocast": True, "load_in_4bit": True, "gradient_checkpointing": True, "length": 1024},
    {"r": 8, "autocast": True, "load_in_8bit": True, "gradient_checkpointing": True, "length": 1024},
    {"num_shards": 4, "num_replicas": 4},
    {"r": 8, "rows": 4, "length": 512, "padding": True},
]


def of(config: dict[str, Any], **step: Any) -> MemoryParts:
    return traced_memory(config, dataclasses.replace(STEP, **step))


@pytest.mark.slow
@pytest.mark.parametrize("config", [SMALL_LLAMA, SMALL_QWEN3, SMALL_GPT2], ids=lambda config: config["model_type"])
def test_the_estimate_agrees_with_the_trace(config: dict[str, Any]) -> None:
    cases = [Case("small", config, dataclasses.replace(STEP, **fields)) for fields in SMALL_STEPS]
    compared = compare(cases, estimated, traced)
    assert ESTIMATED_GATE.is_kept(compared), [one.row() for one in compared]


@pytest.mark.slow
def test_the_trace_agrees_with_what_real_steps_take() -> None:
    steps = ({"r": 8, "rows": 2, "length": 256}, {"gradient_checkpointing": True, "rows": 2, "length": 128})
    fixed = {"dtype_bytes": 4, "head": "tiles_on_cpu"}
    cases = [Case("small", SMALL_LLAMA, dataclasses.replace(STEP, **fixed, **fields)) for fields in steps]
    compared = compare(cases, traced, measured_on_cpu)
    assert TRACED_GATE.is_kept(compared), [one.row() for one in compared]


@pytest.mark.slow
@pytest.mark.parametrize("step", SMALL_STEPS[:3])
def test_two_and_four_layers_tell_what_eight_take(step: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from tuning.recommender import traced_memory as module

    drawn = of(SMALL_LLAMA, **step).total
    monkeypatch.setattr(module, "_MORE", 8)
    assert drawn == pytest.approx(of(SMALL_LLAMA, **step).total, rel=0.001)


@pytest.mark.slow
def test_the_real_8b_shape_takes_seconds_and_no_weights() -> None:
    found = traced_memory(LLAMA_8B, Step(1, 4096, dtype_bytes=2, r=16, gradient_checkpointing=True))
    assert found.weights == 2 * 8_030_261_248 + 4 * 41_943_040 + found.weights % 1024
    assert found.optimizer == pytest.approx(8 * 41_943_040, rel=0.001)


@pytest.mark.slow
def test_accumulation_keeps_the_gradients_through_the_next_forward_pass() -> None:
    once, twice = (of(SMALL_LLAMA, gradient_accumulation_steps=count) for count in (1, 2))
    assert twice.total - once.total == pytest.approx(twice.gradients, rel=0.01)


@pytest.mark.slow
def test_an_optimizer_that_is_not_fused_takes_more() -> None:
    fused, foreach = (of(SMALL_LLAMA, rows=1, length=8, optim=name) for name in ("adamw_torch_fused", "adamw_torch"))
    assert foreach.total > fused.total


@pytest.mark.slow
@pytest.mark.parametrize("config", [{}, {"model_type": "no such type"}, {"model_type": "llama", "hidden_size": "x"}])
def test_a_model_that_transformers_cannot_build_is_told_of(config: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="transformers"):
        traced_memory(config, STEP)


def test_the_highest_moment_counts() -> None:
    low = {"weights": 1.0, "gradients": 0.0, "optimizer": 0.0, "activations": 2.0, "logits": 0.0}
    assert highest({"forward": low, "loss": {**low, "logits": 4.0}}) == MemoryParts(1, 0, 0, 2, 4)


@pytest.mark.parametrize(
    ("errors", "is_kept"),
    [([0.01, -0.02], True), ([0.01, 0.02, -0.2], False), ([0.06, -0.06, 0.07], False), ([], False)],
)
def test_a_gate_is_missed_by_one_large_error_by_many_and_by_nothing(errors: list[float], is_kept: bool) -> None:
    case = Case("small", SMALL_LLAMA, STEP)
    compared = [Compared(case, round(1000 * (1 + error)), 1000) for error in errors]
    assert Gate("a gate", most=0.15, median=0.05).is_kept(compared) is is_kept
    assert ("missed" in Gate("a gate", 0.15, 0.05).verdict(compared)) is not is_kept if compared else True
