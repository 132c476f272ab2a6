from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuning.config.sections import Evaluation
from tuning.evaluation.baseline import BASELINE_FILE, fingerprint_of, read_baseline, write_baseline
from tuning.evaluation.questions import Question

ROWS = [{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}, {"input_ids": [8], "labels": [8]}]
QUESTION = Question("rows row 1", [5], "prompt", "answer", 1)


def marked(rows: list[dict[str, Any]] = ROWS, question: Question = QUESTION, **settings: Any) -> str:
    from datasets import Dataset

    return fingerprint_of(Dataset.from_list(rows), [question], Evaluation.model_validate(settings))


def test_a_baseline_is_kept_without_times(tmp_path: Path) -> None:
    assert read_baseline(tmp_path, "mark") is None
    write_baseline(tmp_path, {"eval_loss": 1.5, "eval_runtime": 3.0, "epoch": 1.0}, "mark")
    assert read_baseline(tmp_path, "mark") == {"eval_loss": 1.5}


def test_a_baseline_of_something_else_is_none(tmp_path: Path) -> None:
    write_baseline(tmp_path, {"eval_loss": 1.5}, "mark")
    assert read_baseline(tmp_path, "another") is None


def test_a_score_that_is_no_number_comes_back_as_one(tmp_path: Path) -> None:
    write_baseline(tmp_path, {"eval_loss": math.nan}, "mark")
    assert math.isnan((read_baseline(tmp_path, "mark") or {})["eval_loss"])


@pytest.mark.parametrize("text", ["[1]", "{}", "not JSON", '{"fingerprint": "mark", "scores": 1}'])
def test_a_damaged_baseline_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / BASELINE_FILE).write_text(text)
    assert read_baseline(tmp_path, "mark") is None


def test_the_same_rows_questions_and_metrics_have_the_same_mark() -> None:
    assert marked() == marked()


def test_other_rows_labels_questions_or_metrics_have_another_mark() -> None:
    joined = [{"input_ids": [5, 6, 7, 8], "labels": [-100, 6, 7, 8]}]
    unmasked = [{**ROWS[0], "labels": [5, 6, 7]}, ROWS[1]]
    others = [marked(ROWS[:1]), marked(joined), marked(unmasked), marked(question=replace(QUESTION, answer="b"))]
    others += [marked(token_f1=False), marked(generation_metrics=["rouge"]), marked(max_new_tokens=3)]
    assert len({marked(), *others}) == 8
