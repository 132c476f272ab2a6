from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_up_facts import document

from tuning.config.ir import IR
from tuning.recommender.token_lengths import MOST_SAMPLED_CHARACTERS, RowLength, token_lengths

CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is 12 + 30?"},
    {"role": "assistant", "content": "42."},
    {"role": "user", "content": "And 1 more?"},
    {"role": "assistant", "content": "43."},
]


@pytest.fixture
def ir(tiny_config_only_model: Path) -> IR:
    return document(model__model_name_or_path=str(tiny_config_only_model))


@pytest.fixture
def count(tiny_config_only_model: Path) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tiny_config_only_model / "tokenizer.json"))
    return lambda text: len(tokenizer.encode(text).ids)


def test_a_text_is_learned_as_a_whole_and_gets_an_end(ir: IR, count: Any) -> None:
    tokens = count("The heron waits.") + 1
    assert token_lengths(ir, [{"text": "The heron waits."}]) == (RowLength(tokens, tokens),)


def test_of_prompt_and_completion_the_completion_is_learned(ir: IR, count: Any) -> None:
    (length,) = token_lengths(ir, [{"prompt": "Question: ", "completion": "42."}])
    assert length.supervised_tokens == count("42.") + 1
    assert length.tokens == count("Question: ") + count("42.") + 1


@pytest.mark.parametrize(
    "row", [{"messages": CONVERSATION}, {"prompt": CONVERSATION[:-1], "completion": CONVERSATION[-1:]}]
)
def test_a_conversation_is_measured_with_its_template(ir: IR, count: Any, row: dict[str, Any]) -> None:
    from tuning.data.templates import CHATML, render_chat

    (length,) = token_lengths(ir, [row])
    assert length.tokens == pytest.approx(count(render_chat(CHATML, CONVERSATION)), abs=6)
    assert length.supervised_tokens == pytest.approx(count("42.") + count("43.") + 2, abs=2)


def test_a_chat_template_of_the_users_own_counts(ir: IR) -> None:
    bare = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    with_template, without = (
        token_lengths(document(**values), [{"messages": CONVERSATION}])[0].tokens
        for values in (
            {"model__model_name_or_path": ir.get("model.model_name_or_path")},
            {"model__model_name_or_path": ir.get("model.model_name_or_path"), "model__chat_template": bare},
        )
    )
    assert without < with_template - 20


@pytest.mark.parametrize("template", ["{% if %}", "{{ raise_exception('no') }}"])
def test_a_chat_template_that_fails_leaves_the_default_one(ir: IR, template: str) -> None:
    broken = document(model__model_name_or_path=ir.get("model.model_name_or_path"), model__chat_template=template)
    assert token_lengths(broken, [{"messages": CONVERSATION}]) == token_lengths(ir, [{"messages": CONVERSATION}])


def test_a_message_that_calls_a_tool_has_no_content(ir: IR) -> None:
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "add", "arguments": {"a": 12, "b": 30}}}]}
    (length,) = token_lengths(ir, [{"messages": [CONVERSATION[1], call]}])
    assert length.supervised_tokens > 10


def test_without_a_tokenizer_nothing_is_measured(tmp_path: Path) -> None:
    assert token_lengths(document(model__model_name_or_path=str(tmp_path)), [{"text": "a"}]) == ()


def test_a_tokenizer_that_cannot_be_read_measures_nothing(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    assert token_lengths(document(model__model_name_or_path=str(tmp_path)), [{"text": "a"}]) == ()


def test_the_tokenizer_may_stand_in_a_folder_of_its_own(ir: IR, tmp_path: Path) -> None:
    apart = document(model__model_name_or_path=str(tmp_path)).merge(
        {"model": {"tokenizer_name_or_path": ir.get("model.model_name_or_path")}}, "file"
    )
    assert token_lengths(apart, [{"text": "a"}]) == token_lengths(ir, [{"text": "a"}])


def test_rows_beyond_the_limit_of_characters_are_not_measured(ir: IR) -> None:
    rows = [{"text": "a " * (MOST_SAMPLED_CHARACTERS // 4)}] * 5
    assert 2 <= len(token_lengths(ir, rows)) < 5
