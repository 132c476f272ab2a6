from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from made_up_facts import GIB, LLAMA_8B, TINY_LLAMA, model

from tuning.recommender.memory import MemoryEstimate, Step, estimate_memory, lora_parameters
from tuning.recommender.shape import Shape, read_shape

STEP = Step(rows=1, length=4096, dtype_bytes=2, head="whole")


def estimate(config: dict[str, Any], **step: Any) -> MemoryEstimate:
    found = estimate_memory(model(config), replace(STEP, **step))
    assert found is not None
    return found


def shape_of(config: dict[str, Any]) -> Shape:
    shape = read_shape(config)
    assert shape is not None
    return shape


@pytest.mark.parametrize(
    ("step", "gib"),
    [
        ({"r": 16, "gradient_checkpointing": True}, 23.4),
        ({"r": 16}, 60.8),
        ({"gradient_checkpointing": True}, 62.8),
        ({"r": 16, "gradient_checkpointing": True, "rows": 4}, 47.1),
    ],
)
def test_an_8b_model_needs_what_a_trace_of_its_real_step_needs(step: dict[str, Any], gib: float) -> None:
    """Compare with a trace of a whole step under fake tensors: torch 2.13, adapters in float32, no autocast."""
    assert estimate(LLAMA_8B, **step).total_bytes / GIB == pytest.approx(gib, rel=0.04)


def test_training_all_weights_in_float32_takes_16_bytes_each_and_autocast_two_more() -> None:
    plain, autocast = (estimate(TINY_LLAMA, dtype_bytes=4, autocast=on) for on in (False, True))
    count = model(TINY_LLAMA).num_parameters or 0
    assert plain.weights_bytes + plain.gradients_bytes + plain.optimizer_bytes == 16 * count
    assert autocast.weights_bytes - plain.weights_bytes == 2 * count


def test_adapters_alone_have_gradients_and_optimizer_state() -> None:
    found, adapters = estimate(LLAMA_8B, r=16), lora_parameters(shape_of(LLAMA_8B), 16)
    assert adapters == 41_943_040
    assert (found.gradients_bytes, found.optimizer_bytes) == (4 * adapters, 8 * adapters)


def test_fewer_targets_have_fewer_parameters_and_unknown_ones_count_as_all() -> None:
    shape = shape_of(LLAMA_8B)
    assert lora_parameters(shape, 8, ["q_proj", "v_proj"]) == 8 * 32 * (4096 + 4096 + 4096 + 1024)
    assert lora_parameters(shape, 8, ["some_proj"]) == lora_parameters(shape, 8)


def test_checkpointing_keeps_the_input_of_each_layer() -> None:
    found = estimate(LLAMA_8B, gradient_checkpointing=True)
    assert found.activations_bytes == 32 * 4096 * 4096 * 2
    assert found.layer_bytes == estimate(LLAMA_8B).activations_bytes // 32


def test_tiles_spare_the_logits_most_where_there_is_a_kernel_for_them() -> None:
    whole, tiles, on_cpu = (
        estimate(LLAMA_8B, head=head, r=16).logits_bytes for head in ("whole", "tiles", "tiles_on_cpu")
    )
    assert tiles < on_cpu < whole


def test_shards_divide_what_is_kept_between_steps() -> None:
    one, eight = estimate(LLAMA_8B, num_replicas=8), estimate(LLAMA_8B, num_replicas=8, num_shards=8)
    assert eight.weights_bytes == one.weights_bytes // 8
    assert eight.optimizer_bytes == one.optimizer_bytes // 8
    assert eight.gradients_bytes == one.gradients_bytes // 16  # replicas keep gradients twice


@pytest.mark.parametrize("config", [{}, {"model_type": "llama", "hidden_size": 64}])
def test_a_model_of_unknown_shape_has_no_estimate(config: dict[str, Any]) -> None:
    assert estimate_memory(model(config), STEP) is None


@pytest.mark.parametrize("field", ["rows", "length"])
def test_more_tokens_need_more_memory(field: str) -> None:
    totals = [estimate(LLAMA_8B, r=8, **{field: size}).total_bytes for size in (100, 101, 6400)]
    assert totals == sorted(set(totals))
