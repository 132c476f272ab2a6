from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from made_up_facts import document

from tuning.config.ir import IR
from tuning.errors import DataError
from tuning.recommender.data_facts import probe_data


def write_rows(file: Path, rows: Iterable[Any]) -> str:
    file.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return str(file)


def with_rows(tmp_path: Path, rows: Iterable[Any], **more: Any) -> IR:
    return document(data__training_data_path=[write_rows(tmp_path / "rows.jsonl", rows)], **more)


TEXTS = [{"text": f"The heron waits {number} times."} for number in range(50)]


def test_rows_and_their_format_are_seen(tmp_path: Path) -> None:
    facts = probe_data(with_rows(tmp_path, TEXTS))
    assert facts is not None
    assert (facts.num_rows, facts.format, facts.num_sampled_rows, facts.tokens) == (50, "text", 50, None)


def test_blank_lines_and_a_byte_order_mark_are_no_rows(tmp_path: Path) -> None:
    facts = probe_data(with_rows(tmp_path, ["\ufeff" + json.dumps(TEXTS[0]), "", "   ", TEXTS[1]]))
    assert facts is not None
    assert (facts.num_rows, facts.num_unusable_sampled_rows) == (2, 0)


def test_rows_that_cannot_be_used_are_counted_and_left_out(tmp_path: Path, tiny_config_only_model: Path) -> None:
    rows = [*TEXTS[:8], {"text": 7}, '{"text": cut']
    facts = probe_data(with_rows(tmp_path, rows, model__model_name_or_path=str(tiny_config_only_model)))
    assert facts is not None
    assert (facts.num_rows, facts.num_unusable_sampled_rows, len(facts.row_lengths)) == (10, 2, 8)


def test_many_rows_are_counted_and_a_sample_is_measured(tmp_path: Path, tiny_config_only_model: Path) -> None:
    name = str(tiny_config_only_model)
    facts = probe_data(with_rows(tmp_path, TEXTS * 60, model__model_name_or_path=name))
    assert facts is not None
    assert (facts.num_rows, facts.num_sampled_rows) == (3000, 2000)
    assert facts.tokens is not None and 5 < facts.tokens.p50 <= facts.tokens.p99 <= facts.tokens.max < 40


def test_the_same_rows_give_the_same_facts(tmp_path: Path, tiny_config_only_model: Path) -> None:
    ir = with_rows(tmp_path, TEXTS * 60, model__model_name_or_path=str(tiny_config_only_model))
    assert probe_data(ir) == probe_data(ir)


@pytest.mark.parametrize("ending", ["json", "csv"])
def test_rows_of_other_files_are_read_too(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"rows.{ending}"
    file.write_text(json.dumps(TEXTS) if ending == "json" else "text\nA heron.\nA lantern.\n")
    facts = probe_data(document(data__training_data_path=[str(file)]))
    assert facts is not None
    assert facts.num_rows == (50 if ending == "json" else 2)


def test_held_out_rows_are_counted(tmp_path: Path) -> None:
    held_out = write_rows(tmp_path / "held_out.jsonl", TEXTS[:7])
    facts = probe_data(with_rows(tmp_path, TEXTS, data__validation_data_path=[held_out]))
    assert facts is not None and facts.num_validation_rows == 7


@pytest.mark.parametrize("ir", [IR(), document(data__training_data_path=["someone/some-rows"]), document(data="rows")])
def test_rows_that_are_not_here_are_unknown(ir: IR) -> None:
    assert probe_data(ir) is None


def test_a_file_without_rows_has_none(tmp_path: Path) -> None:
    facts = probe_data(with_rows(tmp_path, []))
    assert facts is not None
    assert (facts.num_rows, facts.tokens) == (0, None)


def test_a_first_row_that_no_format_fits_is_one_that_cannot_be_used(tmp_path: Path) -> None:
    facts = probe_data(with_rows(tmp_path, [{"note": "x"}, *TEXTS]))
    assert facts is not None
    assert (facts.format, facts.columns, facts.num_unusable_sampled_rows) == ("text", ("text",), 1)


def test_columns_that_fit_no_format_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no format fits the columns a, b"):
        probe_data(with_rows(tmp_path, [{"a": "1", "b": "2"}]))


def test_a_file_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        probe_data(document(data__training_data_path=[str(tmp_path / "missing.jsonl")]))


def test_rows_within_rows_are_counted_one_by_one(tmp_path: Path) -> None:
    instances = [{"input": "", "output": str(number)} for number in range(3)]
    facts = probe_data(with_rows(tmp_path, [{"instruction": "x", "instances": instances}] * 2))
    assert facts is not None
    assert (facts.num_rows, facts.format, facts.columns) == (6, "instruction", ("instruction", "input", "output"))


def test_rows_of_token_ids_are_measured_as_they_are(tmp_path: Path, tiny_config_only_model: Path) -> None:
    rows = [{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}, {"input_ids": [5]}]
    facts = probe_data(with_rows(tmp_path, rows, model__model_name_or_path=str(tiny_config_only_model)))
    assert facts is not None and facts.format == "pretokenized"
    assert sorted(facts.row_lengths) == [(1, 1), (3, 2)]


def test_tools_count_as_part_of_the_prompt(tmp_path: Path, tiny_config_only_model: Path) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    rows = [{"messages": turns}, {"messages": turns, "tools": [{"name": "look_at_the_heron"}]}]
    name = str(tiny_config_only_model)
    without, with_tools = (probe_data(with_rows(tmp_path, [row], model__model_name_or_path=name)) for row in rows)
    assert without is not None and with_tools is not None
    assert with_tools.row_lengths[0].tokens > without.row_lengths[0].tokens + 5
    assert with_tools.row_lengths[0].supervised_tokens == without.row_lengths[0].supervised_tokens


def test_a_task_without_paths_has_the_rows_that_it_brings(tiny_config_only_model: Path) -> None:
    facts = probe_data(document(data__task_type="rag", model__model_name_or_path=str(tiny_config_only_model)))
    assert facts is not None
    assert (facts.num_rows, facts.format, facts.num_unusable_sampled_rows) == (40, "question_answering", 0)


def test_nothing_is_looked_for_before_an_answer_that_a_separator_begins(tmp_path: Path) -> None:
    rows = [{"text": f"Q{number}\nAnswer: [sep] {number}"} for number in range(20)]
    facts = probe_data(with_rows(tmp_path, rows, data__label_separator="[sep]"))
    assert facts is not None and facts.response is None
    assert facts.example is not None and set(facts.example) == {"prompt", "completion"}
