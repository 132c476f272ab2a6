from __future__ import annotations

from typing import Any

import pytest
from made_up_facts import NOTHING, data, decided, document, written

from tuning.config.ir import IR
from tuning.recommender.actions.cadence import CheckpointsKept, Evaluation, Logging, Saving
from tuning.recommender.data_facts import DataFacts
from tuning.recommender.facts import Facts

HELD_OUT: dict[str, Any] = {"data__validation_fraction": 0.05}


def steps(number: int, **more: Any) -> IR:
    return decided(training__max_steps=number, training__per_device_train_batch_size=8, **more)


@pytest.mark.parametrize(
    ("ir", "every"),
    [
        (steps(1), 1),
        (steps(99), 1),
        (steps(225), 2),
        (steps(1_000), 20),
        (steps(10**6), 100),
        (IR(), None),
        (steps(225).merge({"training": {"logging_strategy": "epoch"}}, "file"), None),
    ],
)
def test_a_run_logs_about_fifty_lines_or_more_but_not_every_step(ir: IR, every: int | None) -> None:
    assert written(Logging().apply(ir, NOTHING)).get("logging_steps") == every


@pytest.mark.parametrize(
    ("ir", "user", "expected"),
    [
        (steps(225, **HELD_OUT), {}, {"eval_strategy": "steps", "eval_steps": 23}),
        (steps(5, **HELD_OUT), {}, {"eval_strategy": "steps", "eval_steps": 5}),
        (steps(225), {}, {"eval_strategy": "no"}),
        (decided(**HELD_OUT), {}, {"eval_strategy": "steps", "eval_steps": 0.1}),
        (steps(225, **HELD_OUT), {"eval_strategy": "epoch"}, {}),
        (steps(225, **HELD_OUT), {"eval_strategy": "no"}, {}),
        (steps(225, **HELD_OUT), {"save_strategy": "epoch"}, {"eval_strategy": "epoch"}),
        (steps(225, **HELD_OUT), {"save_steps": 40}, {"eval_strategy": "steps", "eval_steps": 40}),
    ],
)
def test_evaluations_are_ten_at_most_and_in_time_with_checkpoints(
    ir: IR, user: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert written(Evaluation().apply(ir.merge({"training": user}, "file"), NOTHING)) == expected


@pytest.mark.parametrize(("held_out", "every"), [(50, 10), (300, 50), (10**6, 100)])
def test_many_held_out_rows_are_looked_at_less_often(held_out: int, every: int) -> None:
    ir = steps(100, data__validation_data_path=["held_out.jsonl"])
    facts = Facts(data=DataFacts(num_rows=800, num_validation_rows=held_out))
    assert written(Evaluation().apply(ir, facts))["eval_steps"] == every


def test_the_rows_that_a_share_holds_out_are_counted_too() -> None:
    ir = steps(100, data__validation_fraction=0.5)
    assert written(Evaluation().apply(ir, Facts(data=data(1200))))["eval_steps"] == 100


@pytest.mark.parametrize(
    ("ir", "user", "expected"),
    [
        (steps(225), {}, {"save_strategy": "steps", "save_steps": 22}),
        (steps(5), {}, {"save_strategy": "steps", "save_steps": 5}),
        (steps(225, training__eval_strategy="steps", training__eval_steps=23), {}, 23),
        (steps(225, training__eval_strategy="steps", training__eval_steps=7), {}, 21),
        (steps(225, training__eval_strategy="steps", training__eval_steps=100), {}, 100),
        (decided(training__eval_strategy="steps", training__eval_steps=0.1), {}, 0.1),
        (decided(training__eval_strategy="steps", training__eval_steps=30), {}, 30),
        (decided(training__eval_strategy="epoch"), {}, {"save_strategy": "epoch"}),
        (decided(), {}, {}),
        (steps(225), {"save_strategy": "epoch"}, {}),
        (steps(225), {"save_strategy": "no"}, {}),
    ],
)
def test_every_checkpoint_stands_where_an_evaluation_was(ir: IR, user: dict[str, Any], expected: Any) -> None:
    expected = expected if isinstance(expected, dict) else {"save_strategy": "steps", "save_steps": expected}
    assert written(Saving().apply(ir.merge({"training": user}, "file"), NOTHING)) == expected


@pytest.mark.parametrize(("ir", "kept"), [(IR(), 2), (document(training__save_strategy="no"), None)])
def test_two_checkpoints_are_kept(ir: IR, kept: int | None) -> None:
    assert written(CheckpointsKept().apply(ir, NOTHING)).get("save_total_limit") == kept
