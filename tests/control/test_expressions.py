from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
from conditions import ESCAPES
from hypothesis import given, settings
from hypothesis import strategies as st

from tuning.control.expression_values import NotSeenError
from tuning.control.expressions import ExpressionError, parse

KNOWN = ("loss", "eval_loss", "step", "epoch")
VALUES = {"loss": [4.0, 3.0, 5.0], "eval_loss": [2.0], "step": [30.0], "epoch": [1.5]}


def refusal(text: str) -> str:
    with pytest.raises(ExpressionError) as error:
        parse(text, KNOWN)
    return f"{error.value} {error.value.hint or ''}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("loss > 4", True),
        ("loss > 5", False),
        ("loss[0] > loss[1] and loss[-1] > loss[-2]", True),
        ("min(loss[-2:]) == 3 and max(loss) == 5 and len(loss[:2]) == 2", True),
        ("max(eval_loss, loss) == 5 and abs(eval_loss - loss) == 3", True),
        ("1 < eval_loss <= 2", True),
        ("not loss > 4 or step % 10 == 0", True),
        ("(loss / eval_loss) ** 2 == 6.25 and loss // 2 == 2 and -loss < 0", True),
        ("loss != loss", False),
        ("len(loss) >= 3 and epoch > 1 and True", True),
    ],
)
def test_a_condition_says_what_python_would_say(text: str, expected: bool) -> None:
    assert parse(text, KNOWN).holds(VALUES) is expected


@pytest.mark.parametrize("text", ESCAPES)
def test_what_is_not_of_the_language_is_refused_and_does_nothing(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    started = time.process_time()
    assert refusal(text)
    assert time.process_time() - started < 1
    assert list(tmp_path.iterdir()) == []


_PIECES = (
    *("loss", "eval_loss", "step", "1", "2.5", "-", "(", ")", "[", "]", "[-1]", "[-2:]", " and ", " or ", "not "),
    *(" > ", " == ", "+", "/", "**2", "%", "len(", "max(", ",", "min(loss)", ".real", "()", "for ", "lambda:", "'"),
)


@given(st.lists(st.sampled_from(_PIECES), max_size=14).map("".join) | st.text(max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_text_is_refused_or_is_a_condition_that_is_true_or_false(text: str) -> None:
    try:
        held = parse(text, KNOWN).holds(VALUES)
    except (ExpressionError, NotSeenError):
        return
    assert isinstance(held, bool)


def test_a_refusal_says_what_and_where() -> None:
    assert "at character 13: an attribute is not allowed" in refusal("step > 1 or loss.real > 2")
    assert "at character 8: this call is not allowed" in refusal("loss > print(1)")
    assert "there is no metric 'eval_los' Did you mean 'eval_loss'?" in refusal("eval_los > 1")
    assert "the whole is a number" in refusal("loss + 1")
    assert "expected a number, and this is true or false" in refusal("(loss > 1) + 1 > 2")


def test_a_metric_without_a_value_is_told_apart_from_a_condition_that_is_false() -> None:
    with pytest.raises(NotSeenError):
        parse("loss > 1", KNOWN).holds({})
    with pytest.raises(NotSeenError):
        parse("loss[-4] > 1", KNOWN).holds(VALUES)
    assert parse("len(loss) == 0", KNOWN).holds({})


def test_what_has_no_value_in_arithmetic_is_not_a_number() -> None:
    assert not parse("1 / (loss - 5) > 0 or 1 / (loss - 5) <= 0", KNOWN).holds(VALUES)
    assert parse("(loss * 1e18) ** 10 > 1e18", KNOWN).holds({"loss": [1e300]})
    assert parse("loss != loss", KNOWN).holds({"loss": [math.nan]})
