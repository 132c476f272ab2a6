from __future__ import annotations

from typing import Any

import pytest

from tuning.data.pieces import Cutter, Piece, joined
from tuning.data.templates import CHATML, chat_renderer
from tuning.errors import DataError

EOS = "</s>"
UNMARKED = CHATML.replace("{% generation %}", "").replace("{% endgeneration %}", "")
FORGETFUL = (
    "{% for message in messages %}{% if message['role'] == 'assistant' and not loop.last %}[left out]"
    "{% else %}<{{ message['role'] }}>{{ message['content'] }}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
TALK = [
    {"role": "user", "content": "one"},
    {"role": "assistant", "content": "two"},
    {"role": "user", "content": "three"},
    {"role": "assistant", "content": "four"},
]


def cutter(template: str = CHATML, **settings: Any) -> Cutter:
    return Cutter(EOS, chat_renderer(template, {"eos_token": EOS}), **settings)


def learned(pieces: list[Piece]) -> list[str]:
    return [piece.text for piece in joined(pieces) if piece.is_supervised]


def test_a_completion_is_learned_with_its_end_and_a_prompt_is_not() -> None:
    (pieces,) = cutter().cut({"prompt": "2 + 2 =", "completion": " 4"})
    assert pieces == [Piece("2 + 2 =", False), Piece(" 4</s>", True)]


def test_a_text_is_learned_whole_and_ends_once() -> None:
    assert cutter().cut({"text": "all of it</s>"}) == [[Piece("all of it</s>", True)]]


@pytest.mark.parametrize("template", [CHATML, UNMARKED])
def test_every_answer_of_a_conversation_is_learned_with_marks_and_without(template: str) -> None:
    (pieces,) = cutter(template).cut({"messages": TALK})
    assert learned(pieces) == ["two</s>", "four</s>"]
    assert "".join(piece.text for piece in pieces) == "".join(
        piece.text for piece in cutter(CHATML).cut({"messages": TALK})[0]
    )


def test_a_template_that_rewrites_earlier_turns_makes_a_row_of_each_answer() -> None:
    rows = cutter(FORGETFUL).cut({"messages": TALK})
    assert [learned(row) for row in rows] == [["two</s>"], ["four</s>"]]


def test_all_of_a_conversation_is_learned_on_request() -> None:
    (pieces,) = cutter(assistant_only_loss=False).cut({"messages": TALK})
    assert [piece.is_supervised for piece in pieces] == [True]


@pytest.mark.parametrize(
    ("template", "answers"),
    [
        (CHATML, [["four</s>", "six</s>"]]),
        (UNMARKED, [["four</s>", "six</s>"]]),
        (FORGETFUL, [["four</s>"], ["six</s>"]]),
    ],
)
def test_what_others_say_in_a_completion_is_not_learned(template: str, answers: list[list[str]]) -> None:
    more = [{"role": "user", "content": "and 6?"}, {"role": "assistant", "content": "six"}]
    row = {"prompt": TALK[:-1], "completion": [TALK[-1], *more]}
    assert [learned(pieces) for pieces in cutter(template).cut(row)] == answers


@pytest.mark.parametrize("setting", ["completion_only_loss", "assistant_only_loss"])
def test_what_others_say_in_a_completion_is_learned_on_request(setting: str) -> None:
    row = {"prompt": TALK[:1], "completion": TALK[1:]}
    settings: dict[str, Any] = {setting: False}
    (pieces,) = cutter(CHATML, **settings).cut(row)
    assert TALK[2]["content"] in "".join(piece.text for piece in pieces if piece.is_supervised)


def test_a_conversation_without_an_answer_is_refused() -> None:
    with pytest.raises(DataError, match="nothing to train on"):
        cutter(UNMARKED).cut({"messages": TALK[:1]})
