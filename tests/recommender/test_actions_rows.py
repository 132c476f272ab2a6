from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_facts import CPU, LARGE, LLAMA_8B, NOTHING, ONE_OLD_GPU, SMALL, data, decided, document, model, written

from tuning.config.ir import IR
from tuning.recommender.action import Level
from tuning.recommender.actions.rows import Epochs, MaxLength, Sampling, ValidationSplit, padding_waste
from tuning.recommender.data_facts import DataFacts
from tuning.recommender.facts import Facts
from tuning.recommender.token_lengths import RowLength


def rows(*lengths: tuple[int, int]) -> DataFacts:
    return DataFacts(num_rows=len(lengths), row_lengths=tuple(RowLength(*length) for length in lengths))


@pytest.mark.parametrize(
    ("facts", "length"),
    [
        (NOTHING, None),
        (Facts(data=data(10)), 128),
        (Facts(model=SMALL.model), 256),
        (Facts(model=model(LLAMA_8B)), 1024),
        (Facts(data=data(10, 64)), 64),
        (Facts(data=data(1, 1, 1)), 64),
        (Facts(model=SMALL.model, data=data(10, 5000)), 256),
        (Facts(data=rows(*[(100, 50)] * 999, (255, 50))), 256),
        (Facts(data=rows(*[(100, 50)] * 999, (5000, 1))), 128),
        (Facts(data=rows(*[(100, 10)] * 999, (1000, 900))), 1024),
    ],
)
def test_max_length_holds_what_is_learned_within_what_the_model_takes(facts: Facts, length: int | None) -> None:
    assert written(MaxLength().apply(IR(), facts)).get("max_length") == length


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 3000)), min_size=1, max_size=50))
def test_max_length_loses_less_than_half_a_percent_of_what_is_learned(lengths: list[tuple[int, int]]) -> None:
    pairs = [(max(pair), min(pair)) for pair in lengths]
    length = written(MaxLength().apply(IR(), Facts(data=rows(*pairs))))["max_length"]
    lost = sum(min(supervised, max(0, tokens - length)) for tokens, supervised in pairs)
    assert length % 64 == 0
    assert lost <= 0.005 * sum(supervised for _, supervised in pairs)


def test_rows_that_lose_their_whole_answer_are_told_of() -> None:
    made = MaxLength().apply(IR(), Facts(SMALL.model, rows(*[(100, 50)] * 9, (900, 20))))
    assert made is not None and made.level is Level.USER_INTERVENTION
    assert "the model takes 256; 1 are cut" in made.comment
    assert "1 of them keep nothing to learn from" in made.comment


def test_max_length_is_halved_until_one_row_fits_the_memory() -> None:
    wide = model({**LLAMA_8B, "num_hidden_layers": 4, "max_position_embeddings": 131072})
    made = MaxLength().apply(decided(peft__peft_method="lora"), Facts(wide, data(10, 100_000), ONE_OLD_GPU))
    assert 64 <= written(made)["max_length"] < 100_000
    assert made is not None and "would not fit in memory" in made.comment


def test_packed_sequences_are_as_long_as_trl_makes_them() -> None:
    made = MaxLength().apply(document(training__packing=True), Facts(model(LLAMA_8B), data(10)))
    assert written(made) == {"max_length": 1024}


@pytest.mark.parametrize(
    ("num_rows", "ir", "share"),
    [
        (None, IR(), None),
        (None, document(training__load_best_model_at_end=True), 0.05),
        (1, IR(), 0.0),
        (1, document(training__eval_strategy="steps"), 0.0),
        (499, IR(), 0.0),
        (499, document(training__eval_strategy="epoch"), 0.1),
        (500, IR(), 0.05),
        (20_000, IR(), 0.05),
        (100_000, IR(), 0.01),
        (100_000, document(training__eval_strategy="no"), 0.0),
        (100_000, document(data__validation_data_path=["held_out.jsonl"]), None),
    ],
)
def test_rows_are_held_out_where_there_are_enough(num_rows: int | None, ir: IR, share: float | None) -> None:
    facts = Facts(data=DataFacts(num_rows=num_rows))
    assert written(ValidationSplit().apply(ir, facts)).get("validation_fraction") == share


@pytest.mark.parametrize(
    ("num_rows", "ir", "epochs"),
    [
        (None, IR(), None),
        (1, IR(), 3.0),
        (9_999, IR(), 3.0),
        (10_000, IR(), 2.0),
        (50_000, IR(), 1.0),
        (50_000, document(model__train_from_scratch=True), 4.0),
        (10, document(training__max_steps=5), None),
        (10, document(training__max_steps=-1), 3.0),
    ],
)
def test_more_rows_are_seen_fewer_times(num_rows: int | None, ir: IR, epochs: float | None) -> None:
    facts = Facts(data=DataFacts(num_rows=num_rows))
    assert written(Epochs().apply(ir, facts)).get("num_train_epochs") == epochs


BATCH: dict[str, Any] = {
    "peft__peft_method": "lora",
    "training__per_device_train_batch_size": 4,
    "training__max_length": 128,
}
UNEVEN = Facts(data=rows(*[(10, 5), (10, 5), (10, 5), (100, 5)] * 10))


@pytest.mark.parametrize(
    ("ir", "facts", "strategy"),
    [
        (decided(**BATCH), UNEVEN, "group_by_length"),
        (decided(**BATCH), SMALL, "random"),
        (decided(**{**BATCH, "peft__peft_method": "none"}), UNEVEN, "random"),
        (decided(**{**BATCH, "training__max_length": 12}), UNEVEN, "random"),
        (decided(**{**BATCH, "training__per_device_train_batch_size": 1}), UNEVEN, "random"),
        (decided(**BATCH, training__packing=True), UNEVEN, None),
        (decided(**BATCH), NOTHING, None),
        (IR(), UNEVEN, None),
    ],
)
def test_rows_of_like_length_go_together_where_padding_would_waste_a_fifth_and_nothing_is_lost(
    ir: IR, facts: Facts, strategy: str | None
) -> None:
    assert written(Sampling().apply(ir, facts)).get("train_sampling_strategy") == strategy


@pytest.mark.parametrize(
    ("lengths", "batch", "waste"), [([4, 2], 2, 0.25), ([4, 2], 1, 0.0), ([], 2, 0.0), ([3, 3, 1], 2, 0.0)]
)
def test_waste_is_the_share_of_padding(lengths: list[int], batch: int, waste: float) -> None:
    assert padding_waste(lengths, batch) == waste


def test_large_models_leave_the_length_alone_where_even_the_least_does_not_fit() -> None:
    made = MaxLength().apply(IR(), replace(LARGE, hardware=CPU))
    assert written(made) == {"max_length": 1024}
