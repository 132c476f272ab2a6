from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tuning.export.comparison import Comparison
from tuning.export.exporter import EXACT, HALF
from tuning.export.prompts import LONGEST_PROMPT, Prompts, random_prompts

GOOD = Comparison(
    max_difference=1e-5,
    deviation=1.0,
    largest_logit=5.0,
    top_1=1.0,
    same_greedy_text=True,
    num_prompts=16,
    num_positions=300,
    prompts="random tokens",
)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"max_difference": 2e-4}, "logits differ by up to 0.0002, and 0.0001 is allowed"),
        ({"max_difference": math.nan}, "logits differ by up to nan"),
        ({"top_1": 0.99}, "the same at 99.0% of 300 positions, and 100% are asked for"),
        ({"same_greedy_text": False}, "the greedy text is another one"),
    ],
)
def test_what_is_out_of_bounds_is_named_with_its_numbers(changes: dict[str, float], told: str) -> None:
    assert GOOD.failures(EXACT) == []
    (failure,) = replace(GOOD, **changes).failures(EXACT)
    assert told in failure


def test_half_precision_may_differ_by_its_share_of_the_deviation() -> None:
    assert replace(GOOD, max_difference=0.1, same_greedy_text=False).failures(HALF) == []
    assert len(replace(GOOD, max_difference=0.1, deviation=0.1).failures(HALF)) == 1


def test_large_logits_may_differ_by_more() -> None:
    assert replace(GOOD, max_difference=2e-4, largest_logit=30.0).failures(EXACT) == []


def test_prompts_have_three_shapes_and_end_with_the_last_tokens() -> None:
    prompts = Prompts(random_prompts(300), "random tokens")
    shapes = [(len(batch), max(map(len, batch))) for batch in prompts.batches()]
    assert [number for number, _ in shapes] == [1, 5, 10]
    assert len({length for _, length in shapes}) == 3
    assert shapes[-1][1] == LONGEST_PROMPT
    assert {299, 298, 297, 296} <= {token for prompt in prompts.ids for token in prompt}
