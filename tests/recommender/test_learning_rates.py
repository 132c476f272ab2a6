from __future__ import annotations

import pytest

from tuning.recommender.learning_rates import FAMILIES, measured


@pytest.mark.parametrize(
    ("model_type", "num_parameters", "model"),
    [
        ("llama", 8_030_261_248, "Llama 3.1 8B"),
        ("llama", 6_738_415_616, "Llama 3.1 8B"),
        ("llama", 1_100_048_384, "Llama 3.2 1B"),
        ("qwen3_5_text", 4_200_000_000, "Qwen3.5 4B"),
        ("llama", 20_000_000_000, None),
        ("llama", 936_000, None),
        ("gpt_oss", 20_900_000_000, None),
        ("mistral", 7_000_000_000, None),
        (None, 8_000_000_000, None),
        ("llama", None, None),
    ],
)
def test_a_rate_was_measured_for_the_family_at_about_this_size_or_not_at_all(
    model_type: str | None, num_parameters: int | None, model: str | None
) -> None:
    found = measured(model_type, num_parameters)
    assert (found.model if found is not None else None) == model


def test_every_rate_is_one_that_the_sweep_tried() -> None:
    assert {found.rate for family in FAMILIES.values() for found in family} == {3e-4, 4e-4, 1e-3}
