from __future__ import annotations

from dataclasses import replace

import pytest
from made_up_facts import NOTHING, document, written

from tuning.config.ir import IR
from tuning.data.templates import CHATML
from tuning.recommender.action import Level
from tuning.recommender.actions.data_format import DataFormat
from tuning.recommender.actions.masking import LossMask, ResponseTemplate
from tuning.recommender.data_facts import DataFacts
from tuning.recommender.engine import recommend
from tuning.recommender.facts import Facts
from tuning.recommender.response_match import ResponseMatch
from tuning.recommender.tokenizer_facts import TokenizerFacts

MATCH = ResponseMatch("\n### Answer:", num_rows=100, num_holding=100, num_compared=100, num_parting=100)
ROWS = DataFacts(num_rows=100, format="text", example={"text": "a"}, response=MATCH)
MARKED = TokenizerFacts(chat_template=CHATML)
UNMARKED = TokenizerFacts(chat_template="{{ messages }}")
CHAT = DataFacts(example={"messages": [{"role": "assistant", "content": "a"}]})
FORMATTER = document(data__data_formatter_template="### Question: {{q}}\n### Answer: {{a}}")


def rows(match: ResponseMatch | None, num_rows: int = 100) -> Facts:
    return Facts(data=replace(ROWS, num_rows=num_rows, response=match))


@pytest.mark.parametrize(
    ("facts", "ir", "template"),
    [
        (NOTHING, IR(), None),
        (rows(None), IR(), None),
        (rows(replace(MATCH, num_compared=0, num_parting=0)), IR(), None),
        (rows(MATCH), IR(), "\n### Answer:"),
        (rows(MATCH, num_rows=5000), IR(), None),
        (rows(MATCH, num_rows=5000), FORMATTER, "\n### Answer:"),
        (rows(replace(MATCH, num_parting=99)), IR(), "\n### Answer:"),
        (rows(replace(MATCH, num_parting=98)), IR(), None),
        (rows(MATCH), document(training__completion_only_loss=False), None),
        (rows(MATCH), document(model__train_from_scratch=True), None),
        (rows(MATCH), document(data__response_template="\n### Answer:"), None),
    ],
)
def test_a_response_template_is_suggested_once_rows_and_tokens_part_there(
    facts: Facts, ir: IR, template: str | None
) -> None:
    assert written(ResponseTemplate().apply(ir, facts)).get("response_template") == template


@pytest.mark.parametrize("ir", [IR(), document(data__response_template="\n### Answer:")])
def test_a_template_whose_tokens_join_the_answer_is_told_of_by_name(ir: IR) -> None:
    made = ResponseTemplate().apply(ir, rows(replace(MATCH, num_parting=98, boundary="Answer:| 4")))
    assert made is not None and (made.patch, made.level) == ({}, Level.USER_INTERVENTION)
    assert 'response_template "\\n### Answer:": in 2 of 100 rows' in made.comment


def test_a_user_who_gives_another_response_template_keeps_it() -> None:
    final, _ = recommend(document(data__response_template="A:"), rows(MATCH))
    assert final.get("data.response_template") == "A:"


@pytest.mark.parametrize(
    ("facts", "ir", "expected"),
    [
        (NOTHING, IR(), {}),
        (Facts(data=ROWS), IR(), {}),
        (Facts(data=ROWS), document(data__response_template="A:"), {"completion_only_loss": True}),
        (Facts(data=DataFacts(example={"prompt": "a", "completion": "b"})), IR(), {"completion_only_loss": True}),
        (Facts(data=CHAT), IR(), {}),
        (Facts(data=CHAT), document(model__chat_template=CHATML), {"assistant_only_loss": True}),
        (Facts(data=CHAT, tokenizer=MARKED), IR(), {"assistant_only_loss": True}),
        (Facts(data=CHAT, tokenizer=UNMARKED), IR(), {"completion_only_loss": True}),
    ],
)
def test_the_loss_falls_on_the_answers_wherever_they_can_be_told(
    facts: Facts, ir: IR, expected: dict[str, bool]
) -> None:
    assert written(LossMask().apply(ir, facts)) == expected


@pytest.mark.parametrize("name", ["completion_only_loss", "assistant_only_loss"])
def test_a_user_who_learns_whole_rows_does_so(name: str) -> None:
    for found in (CHAT, DataFacts(example={"prompt": "a", "completion": "b"})):
        final, _ = recommend(document(**{f"training__{name}": False}), Facts(data=found, tokenizer=MARKED))
        assert final.get(f"training.{name}") is False


def test_a_mask_that_the_template_does_not_give_would_crash_and_is_taken_out() -> None:
    final, made = recommend(document(training__assistant_only_loss=True), Facts(data=CHAT, tokenizer=UNMARKED))
    assert final.get("training.assistant_only_loss") is False
    assert [str(found.path) for recommendation in made for found in recommendation.overridden] == [
        "training.assistant_only_loss"
    ]


def test_a_template_that_trl_has_a_marked_copy_of_counts_as_marked() -> None:
    from importlib.util import find_spec
    from pathlib import Path

    spec = find_spec("trl")
    assert spec is not None and spec.submodule_search_locations is not None
    template = (Path(spec.submodule_search_locations[0]) / "chat_templates" / "qwen3.jinja").read_text(encoding="utf-8")
    made = LossMask().apply(IR(), Facts(data=CHAT, tokenizer=TokenizerFacts(chat_template=template)))
    assert written(made) == {"assistant_only_loss": True}


@pytest.mark.parametrize(
    ("facts", "ir", "name"),
    [
        (NOTHING, IR(), None),
        (Facts(data=DataFacts(format="text")), IR(), None),
        (Facts(data=DataFacts(format="chat", columns=("messages", "id"))), IR(), "chat"),
        (Facts(data=DataFacts(format="text", columns=("body",))), document(data__dataset_text_field="body"), None),
    ],
)
def test_the_format_follows_from_the_columns_and_says_so(facts: Facts, ir: IR, name: str | None) -> None:
    made = DataFormat().apply(ir, facts)
    assert written(made).get("data_format") == name
    assert made is None or made.comment == "The rows have the columns messages, id."


def test_a_format_that_the_user_names_stays() -> None:
    found = Facts(data=DataFacts(format="question_answering", columns=("question", "answer")))
    assert recommend(document(data__data_format="mine"), found)[0].get("data.data_format") == "mine"
