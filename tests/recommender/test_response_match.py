from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from tuning.config.sections import Data
from tuning.recommender.response_match import match_response

TEXTS = [f"### Question: {n} + {n}?\n### Answer: {2 * n}" for n in range(50)]
FORMATTER = "### Question: {{question}}\n### Answer: {{answer}}"


@pytest.fixture(scope="module")
def tokenizer(tiny_config_only_model: Path) -> Any:
    return Tokenizer.from_file(str(tiny_config_only_model / "tokenizer.json"))


@pytest.fixture(scope="module")
def joining() -> Any:
    """Make a tokenizer that knows an answer's start and the text before it as one token."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Split("§", "removed")
    made.train_from_iterator(["Answer: 4"] * 99, trainers.BpeTrainer(vocab_size=300, show_progress=False))
    return made


def test_the_text_before_the_last_column_parts_the_rows(tokenizer: Any) -> None:
    match = match_response(TEXTS, Data(data_formatter_template=FORMATTER), tokenizer)
    assert match is not None and match.template == "\n### Answer:"
    assert (match.num_rows, match.num_holding, match.num_compared, match.share) == (50, 50, 50, 1.0)


def test_a_usual_text_is_found_in_plain_rows(tokenizer: Any) -> None:
    match = match_response(TEXTS, Data(), tokenizer)
    assert match is not None and match.template == "### Answer:"


@pytest.mark.parametrize(
    "texts", [[], ["nothing"], [*TEXTS, "a row without it"], ["### Answer: 1 ### Answer: 2"], ["### Answer: "]]
)
def test_a_text_that_does_not_stand_once_in_every_row_is_not_taken(texts: list[str], tokenizer: Any) -> None:
    assert match_response(texts, Data(), tokenizer) is None


def test_a_given_text_is_looked_at_in_the_rows_that_hold_it(tokenizer: Any) -> None:
    match = match_response([*TEXTS, "a row without it"], Data(response_template="### Answer:"), tokenizer)
    assert match is not None and (match.num_rows, match.num_holding, match.share) == (51, 50, 1.0)


def test_tokens_that_join_the_text_with_the_answer_are_told_of(joining: Any) -> None:
    match = match_response(["Answer: 4"] * 3, Data(response_template="Answer:"), joining)
    assert match is not None and (match.num_compared, match.num_parting) == (3, 0)
    assert match.boundary == "Answer:| 4"


def test_without_a_tokenizer_nothing_is_compared() -> None:
    match = match_response(TEXTS, Data(), None)
    assert match is not None and match.num_compared == 0
