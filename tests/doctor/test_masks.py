from __future__ import annotations

from typing import Any

import pytest

from tuning.doctor.masks import answers_and_others, misplaced

CHAT = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": "Name a river."},
    {"role": "assistant", "content": "The Rhine."},
]


@pytest.mark.parametrize(
    ("values", "answers", "others"),
    [
        ({"messages": CHAT}, ["The Rhine."], ["Be short.", "Name a river."]),
        ({"prompt": CHAT[:2], "completion": CHAT[2:]}, ["The Rhine."], ["Be short.", "Name a river."]),
        ({"prompt": "2 + 2 = ", "completion": "4"}, ["4"], ["2 + 2 = "]),
        ({"text": "All of it."}, ["All of it."], []),
    ],
)
def test_answers_are_told_from_what_others_say(values: dict[str, Any], answers: list[str], others: list[str]) -> None:
    assert answers_and_others(values, prompts_are_learned=False) == (answers, others)


def test_where_prompts_are_learned_all_texts_are() -> None:
    answers, others = answers_and_others({"prompt": "2 + 2 = ", "completion": "4"}, prompts_are_learned=True)
    assert (answers, others) == (["2 + 2 = ", "4"], [])


@pytest.mark.parametrize(
    ("learned", "told"),
    [
        ("The Rhine.\n", None),
        ("<think>\n\n</think>\nThe Rhine.", None),
        ("The Rhi", "the answer 'The Rhine.' is not learned"),
        ("Name a river. The Rhine.", "'Name a river.' is learned, and is no answer"),
        ("The Rhine. Name a river.", "'Name a river.' is learned, and is no answer"),
    ],
)
def test_a_missing_answer_and_a_learned_question_are_found(learned: str, told: str | None) -> None:
    assert misplaced(learned, ["The Rhine."], ["Be short.", "Name a river."]) == told


def test_a_question_that_an_answer_repeats_is_no_fault() -> None:
    assert misplaced("Name a river. Gladly.", ["Name a river. Gladly."], ["Name a river."]) is None


def test_answers_must_come_in_their_order() -> None:
    assert misplaced("two one", ["one", "two"], []) == "the answer 'two' is not learned"
