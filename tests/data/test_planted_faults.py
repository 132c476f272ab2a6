"""Ten faults, each planted in files of sound rows and found with the rows that it was planted in."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tuning.config.building import build_config
from tuning.config.loading import load_mapping
from tuning.data.audit import Audit
from tuning.data.rows import load_rows
from tuning.data.templates import CHATML
from tuning.errors import DataError
from tuning.recommender.encoding import encoding_of
from tuning.recommender.sampled_audit import sampled_audit

Row = dict[str, Any]
ALL = list(range(1, 21))
UNMARKED = CHATML.replace("{% generation %}", "").replace("{% endgeneration %}", "")
ENDLESS = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
WITH_BEGIN = (
    "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'assistant' %}"
    "{{ eos_token }}{% endif %}{% endfor %}"
)


def question(number: int) -> str:
    return f"{number}. Where does the heron wait? "


def answer(number: int) -> str:
    return f"Beside river number {number}, until the evening."


def chat(asked: str, answered: str) -> Row:
    return {"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]}


PAIRS = [{"prompt": question(number), "completion": answer(number)} for number in ALL]
CHATS = [chat(question(number), answer(number)) for number in ALL]
TEXTS = [{"text": f"{question(number)}\n### Answer:{answer(number)}"} for number in ALL]
TOKENS = [{"input_ids": [1, 50, number + 50, 60, 61, 2], "labels": [-100, -100, -100, 60, 61, 2]} for number in ALL]


class Planted(NamedTuple):
    """A fault: the sound rows, what is done to which of them, the settings, and the code that it is found by."""

    code: str
    rows: Sequence[Row]
    at: Sequence[int]
    spoil: Callable[[Row], Row]
    settings: Mapping[str, Any] = {}


def with_begin_token(row: Row) -> Row:
    return chat(f"<s>{row['messages'][0]['content']}", row["messages"][1]["content"])


def as_it_is(row: Row) -> Row:
    return row


MANY = "a much longer text " * 40
FAULTS = [
    Planted("everything_masked", PAIRS, ALL, lambda row: {**row, "prompt": MANY}, {"max_length": 100}),
    Planted("truncated_answer", PAIRS, [3, 7], lambda row: {**row, "completion": MANY}, {"max_length": 100}),
    Planted("no_end_token", CHATS, ALL, as_it_is, {"chat_template": ENDLESS}),
    Planted("skipped_row", TEXTS, [5], lambda row: {"text": question(5)}, {"response_template": "\n### Answer:"}),
    Planted("double_bos", CHATS, [2, 6], with_begin_token, {"chat_template": WITH_BEGIN}),
    Planted("duplicate_row", PAIRS, [11, 20], lambda row: PAIRS[3]),
    Planted("empty_answer", TOKENS, [4, 9], lambda row: {**row, "labels": [-100] * 5 + [2]}),
    Planted("skipped_row", CHATS, [2, 3], lambda row: chat("Why?", "")),
    Planted("no_end_token", TOKENS, [10], lambda row: {**row, "labels": [-100, -100, -100, 60, 61, -100]}),
    Planted("no_assistant_markers", CHATS, ALL, as_it_is, {"chat_template": UNMARKED}),
    Planted("wrong_encoding", PAIRS, [8, 13], lambda row: {**row, "completion": "CafÃ© is what it says."}),
]  # fmt: skip
NAMED = [pytest.param(fault, id=f"{fault.code} in {fault.at}") for fault in FAULTS]


@pytest.fixture
def look(tiny_config_only_model: Path, tmp_path: Path) -> Callable[..., Audit]:
    """Return a function that writes rows to files, and audits them as `tune plan` does."""

    def look(rows: Sequence[Row], held_out: Sequence[Row] = (), **settings: Any) -> Audit:
        values = {"model_name_or_path": str(tiny_config_only_model), "output_dir": "run", "max_skipped_share": 0.1}
        values |= {"training_data_path": [write(tmp_path / "train.jsonl", rows)], "max_length": 256, **settings}
        if held_out:
            values["validation_data_path"] = [write(tmp_path / "held_out.jsonl", held_out)]
        ir = load_mapping(values).ir
        encoding = encoding_of(ir)
        assert encoding is not None
        return sampled_audit(load_rows(build_config(ir).data, 0), encoding, 0).audit

    return look


def write(file: Path, rows: Sequence[Row]) -> str:
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return str(file)


def numbers(audited: Audit) -> dict[str, list[int]]:
    return {found.code: sorted(int(place.split()[-1]) for place in found.places) for found in audited.findings}


@pytest.mark.parametrize("fault", NAMED)
def test_a_planted_fault_is_found_in_its_rows(look: Callable[..., Audit], fault: Planted) -> None:
    rows = [fault.spoil(row) if number in fault.at else row for number, row in enumerate(fault.rows, start=1)]
    assert numbers(look(rows, **fault.settings))[fault.code] == list(fault.at)


def test_rows_that_are_held_out_and_trained_on_are_found(look: Callable[..., Audit]) -> None:
    held_out = [{"prompt": "Why?", "completion": "Because of the rain."}, PAIRS[4], PAIRS[8]]
    audited = look(PAIRS, held_out)
    assert numbers(audited) == {"overlap": [2, 3]}
    assert [place.split()[-1] for place in audited.findings[0].same_as] == ["5", "9"]


def test_a_response_template_that_stands_in_no_row_is_refused_by_its_name(look: Callable[..., Audit]) -> None:
    with pytest.raises(DataError, match=r"(?s)20 of 20 rows.*row 1: response_template '### Reply' does not stand"):
        look(TEXTS, response_template="### Reply")


@pytest.mark.parametrize("rows", [PAIRS, CHATS, TEXTS, TOKENS], ids=["pairs", "chats", "texts", "tokens"])
def test_the_same_rows_without_faults_are_found_sound(look: Callable[..., Audit], rows: Sequence[Row]) -> None:
    assert look(rows).findings == ()
