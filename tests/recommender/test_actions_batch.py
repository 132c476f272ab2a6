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
    SMALL,
    data,
    decided,
    document,
    gpus,
    model,
    written,
)

from tuning.config.ir import IR
from tuning.recommender.action import Level
from tuning.recommender.actions.batch import (
    BatchSize,
    EvalBatchSize,
    GradientAccumulation,
    GradientCheckpointing,
    PinMemory,
    wanted_batch,
)
from tuning.recommender.engine import RuleEngine
from tuning.recommender.facts import Facts

LORA: dict[str, Any] = {"peft__peft_method": "lora"}
LORA_IN_BF16: dict[str, Any] = {**LORA, "training__bf16": True, "model__dtype": "bfloat16"}
THREE: dict[str, Any] = {"training__num_train_epochs": 3.0}


@pytest.mark.parametrize(
    ("ir", "num_rows", "batch"),
    [
        (decided(**THREE), 100_000, 64),
        (decided(**THREE, **LORA), 100_000, 16),
        (decided(**THREE), 2_000, 16),
        (decided(**THREE), 100, 8),
        (decided(**THREE), 5, 4),
        (decided(**THREE), 1, 1),
        (decided(), None, 64),
        (document(training__max_steps=50), 2_000, 64),
        (document(training__max_steps=1000), 2_000, 8),
    ],
)
def test_an_update_has_as_many_sequences_as_leave_enough_updates(ir: IR, num_rows: int | None, batch: int) -> None:
    facts = NOTHING if num_rows is None else Facts(data=data(num_rows))
    assert wanted_batch(ir, facts) == batch


@pytest.mark.parametrize(
    ("facts", "ir", "rows"),
    [
        (SMALL, decided(**THREE), 16),
        (NOTHING, IR(), 8),
        (Facts(data=data(1), hardware=CPU), decided(**THREE), 1),
        (replace(SMALL, hardware=replace(CPU, world_size=2, local_world_size=2)), decided(**THREE), 8),
        (replace(SMALL, hardware=replace(CPU, world_size=64)), decided(**THREE), 1),
        (SMALL, document(**THREE, training__gradient_accumulation_steps=4), 4),
        (LARGE, decided(**LORA_IN_BF16, training__max_length=1024), 16),
        (replace(LARGE, hardware=gpus(1, 24, (8, 0))), decided(**LORA_IN_BF16, training__max_length=1024), 8),
    ],
)
def test_a_device_gets_as_many_rows_as_fit_up_to_its_share(facts: Facts, ir: IR, rows: int) -> None:
    made = BatchSize().apply(ir, facts)
    assert written(made) == {"per_device_train_batch_size": rows}
    assert made is not None and made.level is Level.SUGGESTION


@pytest.mark.parametrize("hardware", [ONE_OLD_GPU, EIGHT_GPUS])
def test_a_model_that_does_not_fit_is_told_of(hardware: Any) -> None:
    made = BatchSize().apply(decided(training__max_length=1024), replace(LARGE, hardware=hardware))
    assert written(made) == {"per_device_train_batch_size": 1}
    assert made is not None and made.level is Level.USER_INTERVENTION
    assert "Even one row of 1,024 tokens needs about" in made.comment


def test_shards_make_room_for_a_model_that_does_not_fit_one_device() -> None:
    sharded = replace(LARGE, hardware=replace(EIGHT_GPUS, num_shards=8))
    made = BatchSize().apply(decided(training__max_length=1024, training__bf16=True), sharded)
    assert made is not None and made.level is Level.SUGGESTION


@pytest.mark.parametrize(
    ("facts", "ir", "passes"),
    [
        (SMALL, decided(**THREE, training__per_device_train_batch_size=16), 1),
        (SMALL, decided(**THREE, training__per_device_train_batch_size=3), 6),
        (SMALL, decided(**THREE, training__per_device_train_batch_size=500), 1),
        (Facts(hardware=EIGHT_GPUS), decided(training__per_device_train_batch_size=2), 4),
        (SMALL, IR(), None),
        (SMALL, document(training__per_device_train_batch_size="many"), None),
    ],
)
def test_forward_passes_fill_up_the_update(facts: Facts, ir: IR, passes: int | None) -> None:
    assert written(GradientAccumulation().apply(ir, facts)).get("gradient_accumulation_steps") == passes


@pytest.mark.parametrize(("ir", "rows"), [(IR(), None), (decided(training__per_device_train_batch_size=4), 4)])
def test_evaluation_takes_over_the_training_batch(ir: IR, rows: int | None) -> None:
    assert written(EvalBatchSize().apply(ir, NOTHING)).get("per_device_eval_batch_size") == rows


@pytest.mark.parametrize(
    ("facts", "ir", "on"),
    [
        (SMALL, IR(), False),
        (LARGE, decided(**LORA_IN_BF16, training__max_length=1024), False),
        (LARGE, decided(**LORA_IN_BF16, training__max_length=8192), True),
        (LARGE, document(**LORA_IN_BF16, training__max_length=1024, training__per_device_train_batch_size=64), True),
        (NOTHING, IR(), None),
        (Facts(model=model(LLAMA_8B)), IR(), None),
    ],
)
def test_activations_are_kept_where_there_is_room_for_them(facts: Facts, ir: IR, on: bool | None) -> None:
    assert written(GradientCheckpointing().apply(ir, facts)).get("gradient_checkpointing") is on


def test_checkpointing_is_not_reentrant_unless_the_user_said_how_it_is() -> None:
    ir = decided(**LORA_IN_BF16, training__max_length=8192)
    assert written(GradientCheckpointing().apply(ir, LARGE))["gradient_checkpointing_kwargs"] == {
        "use_reentrant": False
    }
    ir = ir.merge({"training": {"gradient_checkpointing_kwargs": {"determinism_check": "none"}}}, "command line")
    assert "gradient_checkpointing_kwargs" not in written(GradientCheckpointing().apply(ir, LARGE))


@pytest.mark.parametrize(("facts", "pinned"), [(SMALL, False), (LARGE, None), (NOTHING, None)])
def test_memory_is_not_pinned_for_a_cpu(facts: Facts, pinned: bool | None) -> None:
    assert written(PinMemory().apply(IR(), facts)).get("dataloader_pin_memory") is pinned


def test_checkpointing_that_is_off_leaves_no_word_on_how_it_is_done() -> None:
    kwargs = "gradient_checkpointing_kwargs"
    earlier = decided(**LORA_IN_BF16, training__max_length=1024).merge(
        {"training": {kwargs: {"use_reentrant": False}}}, "action GradientCheckpointing"
    )
    final, _ = RuleEngine([GradientCheckpointing()]).run(earlier, LARGE)
    assert (final.get("training.gradient_checkpointing"), final.get(f"training.{kwargs}")) == (False, None)
    refused = document(**LORA_IN_BF16, training__max_length=8192, training__gradient_checkpointing=False)
    assert kwargs not in written(GradientCheckpointing().apply(refused, LARGE))


@pytest.mark.parametrize(
    ("hardware", "rows", "comment"),
    [
        (CPU, 16, "16 sequences per update over 1 device with 16 rows each."),
        (replace(CPU, world_size=3), 4, "24 sequences per update over 3 devices with 4 rows each; 16 are wanted."),
    ],
)
def test_the_comment_says_how_many_sequences_an_update_really_has(hardware: Any, rows: int, comment: str) -> None:
    ir = decided(**THREE, training__per_device_train_batch_size=rows)
    made = GradientAccumulation().apply(ir, replace(SMALL, hardware=hardware))
    assert made is not None and made.comment == comment
