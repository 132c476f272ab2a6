from __future__ import annotations

from typing import Any

import pytest
from made_up_facts import EIGHT_GPUS, NOTHING, data, decided

from tuning.config.ir import IR
from tuning.recommender.facts import Facts
from tuning.recommender.schedule import sequences_per_update, total_steps, train_rows

ROWS = Facts(data=data(1000))


def run(**more: Any) -> IR:
    return decided(
        training__num_train_epochs=3.0,
        training__per_device_train_batch_size=4,
        training__gradient_accumulation_steps=4,
        **more,
    )


@pytest.mark.parametrize(
    ("ir", "facts", "steps"),
    [
        (run(), ROWS, 189),
        (run(data__validation_fraction=0.05), ROWS, 180),
        (run(data__validation_fraction=0.05, data__validation_data_path=["x.jsonl"]), ROWS, 189),
        (run(training__max_steps=7), NOTHING, 7),
        (run(training__max_steps=-1), ROWS, 189),
        (run(), Facts(data=data(1000), hardware=EIGHT_GPUS), 24),
        (run(training__packing=True, training__max_length=1000), ROWS, 21),
        (run(), Facts(data=data(1)), 3),
        (run(), NOTHING, None),
        (IR(), ROWS, None),
    ],
)
def test_steps_are_counted_as_the_trainer_counts_them(ir: IR, facts: Facts, steps: int | None) -> None:
    assert total_steps(ir, facts) == steps


def test_an_update_sees_the_rows_of_all_devices_and_passes() -> None:
    assert sequences_per_update(run(), Facts(hardware=EIGHT_GPUS)) == 128
    assert sequences_per_update(IR(), ROWS) is None


def test_a_fraction_of_a_row_is_held_out_as_a_whole_one() -> None:
    assert train_rows(decided(data__validation_fraction=0.0001), ROWS) == 999
