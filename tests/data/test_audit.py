"""Ten planted faults, each found with the rows that it was planted in; and the same rows without them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from made_tables import token_table

from tuning.causal_lm import IGNORED_LABEL
from tuning.data.audit import Audit, audit
from tuning.data.audit_tokens import SpecialTokens
from tuning.data.pieces import Cutter
from tuning.data.rows import Rows
from tuning.data.sources import Row, Skipped
from tuning.data.templates import CHATML, chat_renderer
from tuning.data.token_table import TokenTable
from tuning.data.tokenization import Encoder, TokenRow, tokenize

WORDS = ("heron", "river", "lantern", "kettle", "umbrella", "evening", "alphabet", "order", "water", "hall")
NAMED = {"bos_token": "<s>", "eos_token": "</s>"}
WITHOUT_MARKS = CHATML.replace("{% generation %}", "").replace("{% endgeneration %}", "")
WITHOUT_END = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
OTHER_END = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"

Make = Callable[..., Audit]


def pairs(name: str = "train", num_rows: int = 20) -> list[Row]:
    """Make rows of which no two are alike, with answers of many tokens."""
    return [
        Row(f"{name} row {number}", {"prompt": f"{number}. Tell of the {word}: ", "completion": f"{word} {name} " * 5})
        for number, word in ((number, WORDS[number % len(WORDS)]) for number in range(1, num_rows + 1))
    ]


def chats(rows: Sequence[Row]) -> list[Row]:
    """Make conversations of rows with a prompt and a completion."""
    return [
        Row(place, {"messages": [said("user", values["prompt"]), said("assistant", values["completion"])]})
        for place, values in rows
    ]


def said(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


@pytest.fixture(scope="module")
def encode(tiny_config_only_model: Path) -> Callable[..., list[list[int]]]:
    from tokenizers import AddedToken, Tokenizer
    from tokenizers.processors import TemplateProcessing

    tokenizer = Tokenizer.from_file(str(tiny_config_only_model / "tokenizer.json"))
    tokenizer.add_special_tokens([AddedToken("<|im_start|>"), AddedToken("<|im_end|>")])
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return lambda texts, add: [found.ids for found in tokenizer.encode_batch(list(texts), add_special_tokens=add)]


@pytest.fixture
def look(encode: Callable[..., list[list[int]]]) -> Make:
    """Return a function that tokenizes rows as training does, and looks through them."""

    def look(
        train: Sequence[Row],
        validation: Sequence[Row] = (),
        template: str = CHATML,
        max_length: int | None = None,
        skipped: Sequence[Skipped] = (),
    ) -> Audit:
        cutter = Cutter("</s>", chat_renderer(template, NAMED))
        tokens = SpecialTokens.of(encode, "</s>", "<s>", (0, 1, 2, 3, *special_ids(encode)), cutter.render_chat)

        def table(rows: Sequence[Row]) -> TokenTable:
            found = tokenize([row.values for row in rows], cutter, Encoder.of(encode), max_length)
            return token_table(found, [row.place for row in rows])

        rows = Rows("prompt_completion", train, validation, skipped, len(train) + len(validation) + len(skipped))
        return audit(table(train), table(validation) if validation else None, tokens, rows)

    return look


def special_ids(encode: Callable[..., list[list[int]]]) -> list[int]:
    return [ids[0] for ids in encode(["<|im_start|>", "<|im_end|>"], False)]


def found(audited: Audit) -> dict[str, list[str]]:
    """Return the rows of each finding by its code, without the name of their file."""
    return {finding.code: [place.split()[-1] for place in finding.places] for finding in audited.findings}


def replaced(rows: Sequence[Row], at: Sequence[int], **values: Any) -> list[Row]:
    """Change columns of the rows with these numbers, counted from 1."""
    return [Row(place, {**old, **values} if number in at else old) for number, (place, old) in enumerate(rows, start=1)]


def test_sound_rows_are_found_sound(look: Make) -> None:
    assert look(pairs(), pairs("held out", 5)).findings == ()
    assert look(chats(pairs()), chats(pairs("held out", 5))).findings == ()


def test_rows_and_tokens_are_counted(look: Make) -> None:
    audited = look(pairs(), pairs("held out", 5))
    assert (audited.train.rows, audited.train.sequences, audited.validation and audited.validation.rows) == (20, 20, 5)
    assert 0 < audited.train.supervised_tokens < audited.train.tokens
    assert audited.train.supervised_share == audited.train.supervised_tokens / audited.train.tokens
    assert audited.train.lengths.p50 <= audited.train.lengths.p99 <= audited.train.lengths.max


def test_a_set_that_is_masked_as_a_whole_is_found(look: Make) -> None:
    rows = [Row(f"row {number}", {"input_ids": [1, number, 2], "labels": [-100] * 3}) for number in range(5, 9)]
    assert found(look(rows)) == {"everything_masked": ["5", "6", "7", "8"]}


def test_rows_that_are_masked_are_found(look: Make) -> None:
    masked = {"input_ids": [1, 9, 2], "labels": [-100] * 3}
    rows = [*pairs(), Row("train row 21", masked), Row("train row 22", {**masked, "input_ids": [1, 8, 2]})]
    assert found(look(rows)) == {"no_supervised_token": ["21", "22"]}


def test_answers_that_are_cut_are_found_and_not_taken_for_unended_ones(look: Make) -> None:
    audited = look(replaced(pairs(), [3, 7], completion="a much longer answer " * 20), max_length=100)
    assert found(audited) == {"truncated_answer": ["3", "7"]}


def test_rows_whose_answer_lies_beyond_max_length_have_nothing_to_learn_from(look: Make) -> None:
    audited = look(replaced(pairs(), [4], prompt="a much longer prompt " * 20), max_length=100)
    assert found(audited) == {"no_supervised_token": ["4"]}
    assert "1 of them because the answer lies beyond max_length" in audited.findings[0].what


def test_a_template_that_writes_no_end_token_is_found(look: Make) -> None:
    audited = look([*pairs(num_rows=3), *chats(pairs("chat", 2))], template=WITHOUT_END)
    assert found(audited)["no_end_token"] == ["1", "2"]
    assert next(finding for finding in audited.findings if finding.code == "no_end_token").level == "warning"


def test_rows_of_tokens_without_an_end_token_are_found(look: Make) -> None:
    rows = [*pairs(), Row("train row 21", {"input_ids": [1, 9, 8, 7], "labels": [-100, 9, 8, 7]})]
    assert found(look(rows)) == {"no_end_token": ["21"]}


def test_an_end_of_turn_is_an_end_and_not_the_end_token(look: Make) -> None:
    audited = look(chats(pairs(num_rows=2)), template=OTHER_END)
    assert found(audited) == {"end_of_turn_token": ["1", "2"], "no_assistant_markers": ["1", "2"]}
    assert {finding.level for finding in audited.findings} == {"remark"}
    assert "set eos_token=<|im_end|>" in audited.findings[0].to_do


def test_texts_that_bring_their_own_begin_token_are_found(look: Make) -> None:
    rows = [Row(place, {**values, "prompt": f"<s>{values['prompt']}"}) for place, values in pairs()[4:6]]
    assert found(look([*pairs()[:4], *rows, *pairs()[6:]])) == {"double_bos": ["5", "6"]}


def test_rows_that_are_held_out_and_trained_on_are_found(look: Make) -> None:
    audited = look(pairs(), [*pairs("held out", 3), *pairs()[8:10]])
    assert found(audited) == {"overlap": ["9", "10"]}
    assert audited.findings[0].same_as == ("train row 9", "train row 10")
    assert (audited.findings[0].split, audited.findings[0].share) == ("validation", 0.4)


def test_rows_that_repeat_another_are_found(look: Make) -> None:
    rows = [*pairs(), Row("train row 21", pairs()[1].values), Row("train row 22", pairs()[1].values)]
    audited = look(rows)
    assert found(audited) == {"duplicate_row": ["21", "22"]}
    assert audited.findings[0].same_as == ("train row 2", "train row 2")


@pytest.mark.parametrize("empty", ["", "\n", "  "])
@pytest.mark.parametrize("template", [CHATML, WITHOUT_MARKS])
def test_answers_that_say_nothing_are_found(look: Make, template: str, empty: str) -> None:
    rows = chats(replaced(pairs(), [2, 20], completion=empty))
    assert found(look(rows, template=template))["empty_answer"] == ["2", "20"]


def test_a_template_that_does_not_mark_the_assistant_is_remarked_on(look: Make) -> None:
    audited = look([*pairs(num_rows=2), *chats(pairs("chat", 3))], template=WITHOUT_MARKS)
    assert found(audited) == {"no_assistant_markers": ["1", "2", "3"]}
    assert audited.warnings == ()


@pytest.mark.parametrize("wrong", ["CafÃ©", "itâ€™s", "a \ufffd b", "Ð½Ðµ"])
def test_texts_in_the_wrong_encoding_are_found(look: Make, wrong: str) -> None:
    audited = look(replaced(pairs(), [6, 9], completion=f"{wrong} and so on"))
    assert found(audited) == {"wrong_encoding": ["6", "9"]}


def test_skipped_rows_are_remarked_on_with_the_reason_that_most_share(look: Make) -> None:
    reasons = ("response_template '### A:' does not stand in the text of the row",) * 2 + ("column text: is empty",)
    skipped = [Skipped(f"train row {number}", reason) for number, reason in enumerate(reasons, start=21)]
    audited = look(pairs(), skipped=skipped)
    assert found(audited) == {"skipped_row": ["21", "22", "23"]}
    assert "2 of them because: response_template '### A:'" in audited.findings[0].what


def test_an_answer_of_one_token_stands_out_only_among_longer_ones(look: Make) -> None:
    rows = replaced(pairs(), [5], completion="w")
    assert found(look(rows)) == {"short_answer": ["5"]}
    assert look(replaced(pairs(num_rows=3), [1, 2, 3], completion="w")).findings == ()


def test_what_few_rows_show_is_a_remark(look: Make) -> None:
    rows = pairs(num_rows=200)
    again = [Row(f"{place} again", values) for place, values in rows]
    assert look([*rows, again[0]]).findings[0].level == "remark"
    assert look([*rows, *again[:3]]).findings[0].level == "warning"


def test_a_row_that_a_mixture_draws_twice_repeats_nothing(look: Make) -> None:
    assert look([*pairs(), *pairs()[:7]]).findings == ()


def test_each_answer_of_a_conversation_is_looked_at(look: Make) -> None:
    turns = [said("user", "Why?"), said("assistant", ""), said("user", "And?"), said("assistant", "Because of rain.")]
    assert found(look([*chats(pairs(num_rows=3)), Row("chat 4", {"messages": turns})])) == {"empty_answer": ["4"]}


def test_a_finding_names_ten_rows_and_the_document_all(look: Make) -> None:
    rows = replaced(pairs(), range(1, 13), completion="CafÃ©")
    audited = look(rows)
    (line,) = [line for line in audited.lines() if "wrong_encoding" in line]
    assert "row 9, row 10, and 2 more" in line and "row 11" not in line
    assert len(audited.to_dict()["findings"][-1]["places"]) == 12
    assert len(audited.to_dict(3)["findings"][-1]["places"]) == 3


def test_no_rows_at_all_are_no_finding() -> None:
    audited = audit(token_table([], []), None, SpecialTokens("</s>", 2))
    assert (audited.train.rows, audited.train.lengths.max, audited.findings) == (0, 0, ())


def test_many_rows_of_every_length_are_counted_as_one_by_one() -> None:
    import random

    chosen = random.Random(0)
    rows = [random_row(chosen, number) for number in range(3000)]
    table = token_table(rows, [f"row {number}" for number in range(len(rows))])
    audited = audit(table, None, SpecialTokens("</s>", 2))
    assert audited.train.supervised_tokens == sum(label != IGNORED_LABEL for row in rows for label in row.labels)
    places = {finding.code: set(finding.places) for finding in audited.findings}
    assert places["no_end_token"] == {f"row {row.row}" for row in rows if has_unended(row.labels)}
    assert places["no_supervised_token"] == {f"row {row.row}" for row in rows if set(row.labels) <= {IGNORED_LABEL}}
    taught = [row for row in rows if set(row.labels) - {IGNORED_LABEL}]
    firsts = {tuple(row.input_ids): row.row for row in reversed(taught)}
    repeats = {f"row {row.row}" for row in taught if firsts[tuple(row.input_ids)] != row.row}
    assert places["duplicate_row"] == repeats


def random_row(chosen: Any, number: int) -> TokenRow:
    ids = [chosen.randint(2, 9) for _ in range(chosen.randint(0, 6))]
    return TokenRow(ids, [token if chosen.random() < 0.6 else IGNORED_LABEL for token in ids], number)


def has_unended(labels: Sequence[int]) -> bool:
    """Tell whether a run of labels does not end with 2."""
    runs = " ".join(map(str, labels)).replace(str(IGNORED_LABEL), "|").split("|")
    return any(run.split() and run.split()[-1] != "2" for run in runs)
