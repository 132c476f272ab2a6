from __future__ import annotations

from pathlib import Path

import pytest

from tuning.config.sections import Model
from tuning.errors import UserError
from tuning.evaluation.answer_length import check_answer_length, max_new_tokens_for, room_for_prompt
from tuning.evaluation.questions import Question


def question(num_prompt_tokens: int, num_answer_tokens: int) -> Question:
    return Question("rows row 1", [5] * num_prompt_tokens, "", "", num_answer_tokens)


def model(folder: Path) -> Model:
    return Model(model_name_or_path=str(folder))


def test_answers_are_as_long_as_the_longest_of_the_rows_with_its_end() -> None:
    assert max_new_tokens_for([question(9, 20), question(9, 5)], 512) == 21
    assert max_new_tokens_for([question(9, 900)], None) == 901


@pytest.mark.parametrize(("num_prompt_tokens", "expected"), [(56, 200), (200, 128), (900, 128)])
def test_a_long_answer_leaves_room_for_the_prompts(num_prompt_tokens: int, expected: int) -> None:
    assert max_new_tokens_for([question(num_prompt_tokens, 3), question(4, 5000)], 256) == expected


def test_an_answer_as_long_as_the_model_is_refused_with_the_name_that_the_user_gave() -> None:
    assert room_for_prompt(256, 255) == 1
    assert room_for_prompt(None, 10**6) is None
    with pytest.raises(UserError, match=r"^--max-new-tokens: 256 tokens.*256 positions; choose at most 255$"):
        room_for_prompt(256, 256, "--max-new-tokens")


@pytest.mark.slow
def test_a_length_is_refused_before_a_model_with_weights_is_there(tiny_config_only_model: Path) -> None:
    with pytest.raises(UserError, match=r"^evaluation.max_new_tokens: 300 tokens.*choose at most 255$"):
        check_answer_length([question(4, 5)], 300, model(tiny_config_only_model))
    check_answer_length([], 300, model(tiny_config_only_model))


@pytest.mark.slow
def test_what_does_not_fit_is_told_with_its_numbers(
    tiny_config_only_model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    questions = [question(200, 3), question(4, 600)]
    check_answer_length(questions, None, model(tiny_config_only_model))
    assert "answers end after 128 tokens, and the longest of the rows has 600" in caplog.text
    assert "1 of 2 prompts have more than the 128 tokens" in caplog.text
    caplog.clear()
    check_answer_length([question(9, 9)], None, model(tiny_config_only_model))
    assert caplog.text == ""
