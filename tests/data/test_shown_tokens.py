from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from tuning.data.shown_tokens import Part, Style, harmless, parts_of, shown

PLAIN, COLOURED = Style(40, False), Style(40, True)
PARTS = [Part("<s>", False, True), Part("Why?\n", False, False), Part("Rain.", True, False), Part("</s>", True, True)]


def letters(ids: Sequence[int]) -> str:
    return "".join(map(chr, ids))


def test_what_is_trained_on_stands_between_marks() -> None:
    assert shown(PARTS, PLAIN) == "<s>Why?\n⟦Rain.</s>⟧"


def test_what_is_trained_on_is_green_and_special_tokens_are_dim() -> None:
    assert shown(PARTS, COLOURED) == ("\x1b[2m<s>\x1b[0mWhy?\n\x1b[32mRain.\x1b[0m\x1b[32m\x1b[2m</s>\x1b[0m")


def test_a_row_is_parted_where_supervision_begins_and_around_special_tokens() -> None:
    ids = [1, *map(ord, "ab"), *map(ord, "cd"), 2]
    parts = parts_of(ids, [-100] * 3 + ids[3:], letters, {1, 2})
    assert parts == [
        Part("\x01", False, True), Part("ab", False, False), Part("cd", True, False), Part("\x02", True, True)
    ]  # fmt: skip


def test_a_space_that_a_tokenizer_leaves_out_at_the_start_is_kept_further_on() -> None:
    parts = parts_of([*map(ord, "a b")], [-100, 32, 98], lambda ids: letters(ids).lstrip(), set())
    assert [part.text for part in parts] == ["a", " b"]


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("abc\u202edcb", "abc\\u202edcb"),
        ("zero\u200bwidth\u2028line", "zero\\u200bwidth\\u2028line"),
        ("a\tb\r\nc", "a\\tb\\r\nc"),
        ("\U000e0041", "\\U000e0041"),
        ("naïve 中文 😀", "naïve 中文 😀"),
    ],
)
def test_what_a_terminal_would_act_on_is_written_as_an_escape(text: str, safe: str) -> None:
    assert harmless(text) == safe


def test_marks_in_the_text_cannot_be_taken_for_ours() -> None:
    assert shown([Part("a⟧b", True, False)], PLAIN) == "⟦a\\u27e7b⟧"
    assert "a⟧b" in shown([Part("a⟧b", True, False)], COLOURED)


def test_lines_are_no_wider_than_asked_for_and_lose_nothing() -> None:
    lines = shown([Part("中" * 30 + "x" * 100, True, False)], PLAIN).split("\n")
    assert max(sum(2 if character == "中" else 1 for character in line) for line in lines) <= 40
    assert "".join(lines) == "⟦" + "中" * 30 + "x" * 100 + "⟧"


def test_colours_end_with_their_line() -> None:
    for line in shown([Part("x" * 100 + "\ny", True, False)], COLOURED).split("\n"):
        assert re.fullmatch("\x1b\\[32m[xy]+\x1b\\[0m", line)


def test_a_long_text_is_shown_by_its_ends() -> None:
    text = shown([Part("a" * 5000 + "z" * 5000, True, False)], Style(10_000, False))
    assert text == f"⟦{'a' * 600} … 8,800 characters … {'z' * 600}⟧"
