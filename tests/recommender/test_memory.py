from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from made_up_facts import CPU, GIB, LLAMA_8B, NOTHING, ONE_GPU, TINY_LLAMA, data, decided, document, gpus, model

from tuning.config.ir import IR
from tuning.recommender.facts import Facts
from tuning.recommender.memory import MemoryParts, Step, estimate_memory, lora_parameters, memory_parts
from tuning.recommender.memory_plan import decided_step, fits, gib, least_step, most_rows, needing, planned_step
from tuning.recommender.shape import Shape, read_shape

MIXTRAL = {**LLAMA_8B, "model_type": "mixtral", "vocab_size": 32000, "num_local_experts": 8}
STEP = Step(rows=1, length=4096, dtype_bytes=2)
QWEN3 = {**LLAMA_8B, "model_type": "qwen3", "hidden_size": 2560, "head_dim": 128, "tie_word_embeddings": True}
GPT2 = {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 4096, "vocab_size": 50257}


def parts(config: dict[str, Any], **step: Any) -> MemoryParts:
    found = memory_parts(model(config), replace(STEP, **step))
    assert found is not None
    return found


def shape_of(config: dict[str, Any]) -> Shape:
    shape = read_shape(config)
    assert shape is not None
    return shape


@pytest.mark.parametrize(
    ("step", "gib"),
    [
        ({"r": 16, "gradient_checkpointing": True}, 18.06),
        ({"r": 16, "gradient_checkpointing": True, "rows": 4}, 25.9),
        ({"r": 16, "head": "whole"}, 57.4),
        ({"gradient_checkpointing": True}, 59.9),
        ({}, 72.8),
    ],
)
def test_an_8b_model_needs_what_a_trace_of_its_real_step_needs(step: dict[str, Any], gib: float) -> None:
    """Compare with docs/memory.md's second memory model: torch 2.13, adapters in float32, no autocast."""
    assert parts(LLAMA_8B, **step).total / GIB == pytest.approx(gib, rel=0.03)


def test_the_estimate_is_the_sum_of_the_parts() -> None:
    found = parts(LLAMA_8B, r=16)
    assert estimate_memory(model(LLAMA_8B), replace(STEP, r=16)) == found.total == sum(vars(found).values())


def test_training_all_weights_in_float32_takes_16_bytes_each_where_nothing_else_is_large() -> None:
    found, count = parts(LLAMA_8B, dtype_bytes=4, length=8), model(LLAMA_8B).num_parameters or 0
    assert found.weights + found.gradients + found.optimizer == 16 * count


def test_autocast_keeps_half_precision_copies_of_the_blocks_in_float32() -> None:
    blocks = (model(LLAMA_8B).num_parameters or 0) - 2 * 128256 * 4096
    plain, autocast = (parts(LLAMA_8B, dtype_bytes=4, r=8, autocast=on, length=8).activations for on in (False, True))
    assert autocast - plain == pytest.approx(2 * blocks, rel=0.01)


def test_adapters_alone_have_gradients_and_optimizer_state() -> None:
    adapters = lora_parameters(shape_of(LLAMA_8B), 16)
    assert adapters == 41_943_040
    assert parts(LLAMA_8B, r=16).optimizer == 8 * adapters


def test_fewer_targets_have_fewer_parameters_and_unknown_ones_count_as_all() -> None:
    shape = shape_of(LLAMA_8B)
    assert lora_parameters(shape, 8, ["q_proj", "v_proj"]) == 8 * 32 * (4096 + 4096 + 4096 + 1024)
    assert lora_parameters(shape, 8, ["some_proj"]) == lora_parameters(shape, 8)


def test_fewer_targets_keep_fewer_inputs() -> None:
    assert parts(LLAMA_8B, r=8, target_modules=["q_proj"]).activations < parts(LLAMA_8B, r=8).activations


@pytest.mark.parametrize("config", [LLAMA_8B, QWEN3, GPT2], ids=lambda config: config["model_type"])
@pytest.mark.parametrize("r", [None, 16])
def test_checkpointing_spares_activations(config: dict[str, Any], r: int | None) -> None:
    less, more = (parts(config, r=r, gradient_checkpointing=on).activations for on in (True, False))
    assert less < more / 3


def test_tiles_spare_the_logits_most_where_there_is_a_kernel_for_them() -> None:
    whole, tiles, on_cpu = (parts(LLAMA_8B, head=head, r=16).logits for head in ("whole", "tiles", "tiles_on_cpu"))
    assert 0 < tiles < on_cpu < whole


def test_shards_divide_what_is_kept_between_steps_and_gather_a_few_blocks() -> None:
    one, eight = parts(LLAMA_8B), parts(LLAMA_8B, num_replicas=8, num_shards=8)
    assert eight.optimizer == one.optimizer // 8
    assert one.weights // 8 < eight.weights < one.weights // 3


def test_replicas_hold_gradients_in_buckets_too() -> None:
    one, eight = parts(LLAMA_8B), parts(LLAMA_8B, num_replicas=8)
    assert eight.total - one.total == pytest.approx(2 * (model(LLAMA_8B).num_parameters or 0), rel=0.01)


def test_accumulation_holds_gradients_during_the_next_forward_pass() -> None:
    once, twice = parts(LLAMA_8B), parts(LLAMA_8B, gradient_accumulation_steps=2)
    assert once.gradients == 0
    assert twice.gradients == 2 * (model(LLAMA_8B).num_parameters or 0)


def test_an_optimizer_that_is_not_fused_needs_a_copy_of_a_state() -> None:
    fused, not_fused = (parts(LLAMA_8B, optim=optim, length=8).total for optim in ("adamw_torch_fused", "adamw_torch"))
    assert not_fused > fused


def test_nf4_takes_about_half_a_byte_for_each_weight_of_a_block() -> None:
    half, nf4 = (parts(LLAMA_8B, r=16, autocast=True, load_in_4bit=on).weights for on in (False, True))
    blocks = (model(LLAMA_8B).num_parameters or 0) - 2 * 128256 * 4096
    assert half - nf4 == pytest.approx((2 - 0.516) * blocks, rel=0.01)


def test_padded_rows_repeat_keys_and_values() -> None:
    plain, padded = (parts(LLAMA_8B, rows=4, r=16, padding=on).activations for on in (False, True))
    assert padded - plain > 32 * 4 * 4096 * 4 * (4096 - 1024)
    assert parts(LLAMA_8B, rows=1, r=16, padding=True) == parts(LLAMA_8B, rows=1, r=16)


@pytest.mark.parametrize("config", [{}, {"model_type": "llama", "hidden_size": 64}])
def test_a_model_of_unknown_shape_has_no_estimate(config: dict[str, Any]) -> None:
    assert estimate_memory(model(config), STEP) is None
    assert memory_parts(model(config), STEP) is None


@pytest.mark.parametrize("config", [LLAMA_8B, TINY_LLAMA, GPT2], ids=lambda config: config["model_type"])
@pytest.mark.parametrize("field", ["rows", "length"])
def test_more_tokens_never_need_less_memory(config: dict[str, Any], field: str) -> None:
    totals = [parts(config, r=8, **{field: size}).total for size in (1, 100, 101, 6400)]
    assert totals == sorted(totals)


def test_fewer_rows_than_asked_for_are_accumulated_which_takes_memory_too() -> None:
    facts = Facts(model(LLAMA_8B), None, gpus(1, 79, (9, 0)))
    step = replace(STEP, length=1024, gradient_checkpointing=True)
    assert most_rows(step, facts, at_most=32) == 32
    assert most_rows(step, facts, at_most=64) == 16
    assert not fits(replace(step, rows=32, gradient_accumulation_steps=2), facts)


def test_a_finished_document_tells_the_accumulation_that_a_rule_chose() -> None:
    ir = decided(training__gradient_accumulation_steps=4)
    assert planned_step(ir, NOTHING).gradient_accumulation_steps == 1
    assert decided_step(ir, NOTHING).gradient_accumulation_steps == 4
    asked = document(training__gradient_accumulation_steps=4)
    assert planned_step(asked, NOTHING) == decided_step(asked, NOTHING)


def test_flash_attention_needs_no_mask_for_padding() -> None:
    assert planned_step(document(), NOTHING).padding
    assert not planned_step(document(model__attn_implementation="flash_attention_2"), NOTHING).padding


def test_experts_that_are_fused_stay_whole_in_4_bits() -> None:
    half, nf4 = (parts(MIXTRAL, r=16, autocast=True, load_in_4bit=on).weights for on in (False, True))
    attention = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024)
    adapters = 2 * lora_parameters(shape_of(MIXTRAL), 16)
    assert half - nf4 == pytest.approx((2 - 0.516) * attention + adapters, rel=1e-3)
    facts = Facts(model(MIXTRAL), None, gpus(1, 48, (8, 0)))
    assert fits(replace(STEP, length=512, r=16, load_in_4bit=True, gradient_checkpointing=True), facts) is False


def test_int8_takes_a_byte_for_each_weight_of_a_block_and_a_scale_for_each_row() -> None:
    half, int8 = (parts(LLAMA_8B, r=16, autocast=True, load_in_8bit=on) for on in (False, True))
    blocks = (model(LLAMA_8B).num_parameters or 0) - 2 * 128256 * 4096
    scales = 4 * 32 * (4096 + 2 * 1024 + 4096 + 2 * 14336 + 4096)
    adapters = 2 * lora_parameters(shape_of(LLAMA_8B), 16)
    assert half.weights - int8.weights == pytest.approx(blocks - scales + adapters, rel=1e-4)
    assert parts(LLAMA_8B, r=16, autocast=True, load_in_4bit=True).weights < int8.weights


@pytest.mark.parametrize(("asked", "bits"), [("load_in_4bit", (True, False)), ("load_in_8bit", (False, True))])
def test_quantized_weights_are_planned_as_they_are_asked_for(asked: str, bits: tuple[bool, bool]) -> None:
    ir = document(peft__peft_method="lora").merge({"quantization": {asked: True}}, "command line")
    for step in (planned_step(ir, NOTHING), least_step(ir, NOTHING)):
        assert (step.load_in_4bit, step.load_in_8bit) == bits


@pytest.mark.parametrize(
    ("quantization", "hardware", "bits"),
    [
        ({"quant_method": "mxfp4"}, gpus(1, 80, (9, 0)), (False, False)),
        ({"quant_method": "fp8"}, gpus(1, 80, (9, 0)), (False, True)),
        ({"quant_method": "fp8"}, ONE_GPU, (False, False)),
        ({"quant_method": "fp8"}, CPU, (False, False)),
        ({"quant_method": "gptq", "bits": 4}, ONE_GPU, (True, False)),
    ],
)
def test_a_quantized_checkpoint_counts_as_it_is_trained_and_never_as_float32(
    quantization: dict[str, Any], hardware: Any, bits: tuple[bool, bool]
) -> None:
    facts = Facts(model({**LLAMA_8B, "quantization_config": quantization}), None, hardware)
    for step in (planned_step(decided(peft__peft_method="lora"), facts), least_step(IR(), facts)):
        assert step.dtype_bytes == 2
    step = planned_step(decided(peft__peft_method="lora"), facts)
    assert (step.load_in_4bit, step.load_in_8bit) == bits


@pytest.mark.parametrize(
    ("chosen", "saved", "size"),
    [(None, "bfloat16", 2), ("auto", "float16", 2), ("float32", "bfloat16", 4), (None, "float32", 4), (None, None, 4)],
)
def test_weights_of_no_chosen_type_have_that_of_the_checkpoint(
    chosen: str | None, saved: str | None, size: int
) -> None:
    ir = IR() if chosen is None else document(model__dtype=chosen)
    assert planned_step(ir, Facts(model({**LLAMA_8B, "dtype": saved}))).dtype_bytes == size


def test_the_least_step_is_what_the_user_wants_whatever_rules_made_of_it() -> None:
    facts = Facts(model(LLAMA_8B), data(100, tokens=500), ONE_GPU)
    rules: dict[str, Any] = {"peft__peft_method": "lora", "training__bf16": True, "quantization__load_in_4bit": True}
    step = least_step(decided(**rules, training__per_device_train_batch_size=8, training__optim="adamw_torch"), facts)
    assert (step.rows, step.length, step.dtype_bytes, step.load_in_4bit) == (1, 512, 2, False)
    assert (step.gradient_checkpointing, step.optim) == (True, "adamw_torch_fused")
    theirs = document(peft__peft_method="lora", training__bf16=True, model__dtype="float32", training__max_length=64)
    assert (least_step(theirs, facts).dtype_bytes, least_step(theirs, facts).length) == (4, 64)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (1, "1 MiB"),
        (5 << 20, "5 MiB"),
        (GIB * 3 // 2, "1.5 GiB"),
        (1450 * GIB, "1,450 GiB"),
        (GIB * 9996 // 10, "1,000 GiB"),
    ],
)
def test_sizes_are_written_without_exponents(size: int, text: str) -> None:
    assert gib(size) == text


def test_one_row_needs_and_two_need() -> None:
    assert [needing(Step(rows, 2048)) for rows in (1, 2)] == [
        "1 row of 2,048 tokens needs",
        "2 rows of 2,048 tokens need",
    ]
