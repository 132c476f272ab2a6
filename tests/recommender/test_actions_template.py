from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from made_up_facts import LLAMA_8B, NOTHING, decided, document, model, written

from tuning.config.ir import IR
from tuning.data.templates import CHATML
from tuning.recommender.action import Level
from tuning.recommender.actions.template import BosToken, ChatTemplate, EosToken, PadToken
from tuning.recommender.chat_rows import render_row
from tuning.recommender.data_facts import DataFacts
from tuning.recommender.engine import recommend
from tuning.recommender.facts import Facts
from tuning.recommender.tokenizer_facts import TokenizerFacts

TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello there"}]
CHAT = DataFacts(num_rows=1, example={"messages": TURNS})
PAIRS = DataFacts(num_rows=1, example={"prompt": TURNS[:1], "completion": TURNS[1:]})
TEXT = DataFacts(num_rows=1, example={"text": "<s>Hello"})
PLAIN = TokenizerFacts(bos_token="<s>", eos_token="</s>", pad_token="<pad>", token_ids={"</s>": 2, "<pad>": 3})
LLAMA_3 = replace(
    PLAIN, token_ids={"</s>": 2, "<|start_header_id|>": 4, "<|end_header_id|>": 5, "<|eot_id|>": 6, "<pad>": 3}
)
OWN = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}END\n{% endfor %}"


def facts(data: DataFacts | None, tokenizer: TokenizerFacts | None, ir: IR | None = None) -> Facts:
    chat = render_row(ir or IR(), tokenizer, data.example if data is not None else None)
    return Facts(model(LLAMA_8B), data, tokenizer=tokenizer, chat=chat)


@pytest.mark.parametrize(
    ("found", "ir"),
    [
        (NOTHING, IR()),
        (facts(CHAT, None), IR()),
        (facts(None, PLAIN), IR()),
        (facts(TEXT, PLAIN), IR()),
        (facts(CHAT, replace(PLAIN, chat_template=OWN)), IR()),
        (facts(CHAT, PLAIN), document(model__chat_template="mine")),
        (facts(CHAT, PLAIN), document(model__chat_template_path="mine.jinja")),
    ],
)
def test_a_template_that_is_there_or_not_needed_stays(found: Facts, ir: IR) -> None:
    assert ChatTemplate().apply(ir, found) is None


@pytest.mark.parametrize("data", [CHAT, PAIRS])
def test_conversations_without_a_template_get_chatml_with_a_warning(data: DataFacts) -> None:
    made = ChatTemplate().apply(IR(), facts(data, PLAIN))
    assert written(made) == {"chat_template": CHATML.replace("\\n", "\n")}
    assert made is not None and made.comment.startswith("Warning: the tokenizer has no chat template.")


def test_a_family_whose_tokens_are_known_gets_its_own_way_and_end_token() -> None:
    final, _ = recommend(document(model__model_name_or_path="base"), facts(CHAT, LLAMA_3))
    assert "<|start_header_id|>" in final.get("model.chat_template")
    assert final.get("training.eos_token") == "<|eot_id|>"
    assert final.get("training.assistant_only_loss") is True


@pytest.mark.parametrize(
    ("end", "tokenizer", "eos_token"),
    [
        ("</s>", PLAIN, None),
        ("<|eot_id|>", LLAMA_3, "<|eot_id|>"),
        ("<|eot_id|>", replace(LLAMA_3, stop_tokens=("<|eot_id|>",)), None),
        ("<|eot_id|>", PLAIN, None),
    ],
)
def test_the_end_token_is_what_stands_after_the_assistants_words(
    end: str, tokenizer: TokenizerFacts, eos_token: str | None
) -> None:
    known = replace(tokenizer, chat_template=OWN.replace("END", end))
    assert written(EosToken().apply(IR(), facts(CHAT, known))).get("eos_token") == eos_token


@pytest.mark.parametrize("found", [NOTHING, facts(TEXT, PLAIN), facts(CHAT, None), facts(CHAT, PLAIN)])
def test_the_end_token_stays_where_nothing_is_known_or_chatml_writes_it(found: Facts) -> None:
    assert EosToken().apply(IR(), found) is None


def test_a_template_that_ends_no_turn_is_told_of() -> None:
    made = EosToken().apply(IR(), facts(CHAT, replace(PLAIN, chat_template=OWN.replace("END", ""))))
    assert made is not None and (made.patch, made.level) == ({}, Level.USER_INTERVENTION)
    assert "no end token" in made.comment


def test_a_template_that_refuses_the_row_or_is_broken_tells_nothing() -> None:
    for template in ("{{ raise_exception('no') }}", "{% if"):
        assert EosToken().apply(IR(), facts(CHAT, replace(PLAIN, chat_template=template))) is None


@pytest.mark.parametrize(
    ("tokenizer", "pad_token"),
    [
        (None, None),
        (PLAIN, None),
        (TokenizerFacts(eos_token="</s>"), None),
        (replace(PLAIN, eos_token=None), None),
        (replace(PLAIN, pad_token=None), "<pad>"),
        (replace(PLAIN, pad_token="</s>"), "<pad>"),
        (replace(PLAIN, pad_token="</s>", token_ids={"</s>": 2}), "<pad>"),
        (replace(PLAIN, pad_token="</s>", token_ids={"</s>": 2}, unk_token="<unk>"), "<unk>"),
        (replace(PLAIN, pad_token=None, token_ids={"</s>": 2, "<unused0>": 9}, unk_token="<unk>"), "<unused0>"),
    ],
)
def test_the_end_token_never_pads(tokenizer: TokenizerFacts | None, pad_token: str | None) -> None:
    assert written(PadToken().apply(IR(), facts(None, tokenizer))).get("pad_token") == pad_token


def test_an_end_token_that_was_chosen_is_the_one_that_must_not_pad() -> None:
    tokenizer = replace(PLAIN, unk_token="<unk>")
    made = PadToken().apply(decided(training__eos_token="<pad>"), facts(None, tokenizer))
    assert written(made) == {"pad_token": "<unk>"}


@pytest.mark.parametrize(
    ("data", "tokenizer", "told"),
    [
        (TEXT, replace(PLAIN, adds_bos_token=True), "the tokenizer adds another"),
        (TEXT, replace(PLAIN, adds_bos_token=False), None),
        (TEXT, None, None),
        (DataFacts(example={"text": "Hello"}), replace(PLAIN, adds_bos_token=True), None),
        (CHAT, replace(PLAIN, chat_template="{{ bos_token }}<s>" + OWN), "The chat template writes it twice"),
        (CHAT, replace(PLAIN, chat_template="{{ bos_token }}" + OWN), None),
    ],
)
def test_a_row_that_would_start_twice_is_told_of(
    data: DataFacts, tokenizer: TokenizerFacts | None, told: str | None
) -> None:
    made: Any = BosToken().apply(IR(), facts(data, tokenizer))
    assert made is None if told is None else told in made.comment and made.level is Level.USER_INTERVENTION


@pytest.mark.parametrize(("path", "chosen"), [("model.chat_template", OWN), ("training.eos_token", "</s>")])
def test_what_the_user_chose_stays(path: str, chosen: str) -> None:
    section, name = path.split(".")
    ir = document(**{f"{section}__{name}": chosen})
    final, _ = recommend(ir, facts(CHAT, LLAMA_3, ir))
    assert (final.get(path), final.sources[path]) == (chosen, "command line")
