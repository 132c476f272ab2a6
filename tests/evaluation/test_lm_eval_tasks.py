from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuning.errors import Preempted, UserError
from tuning.evaluation.lm_eval_tasks import _faults_told, check_tasks, run_tasks

pytestmark = pytest.mark.slow


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    pytest.importorskip("lm_eval")
    rows = [{"number": number, "label": number % 2} for number in range(8)]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return tmp_path


def write_task(folder: Path, file: str = "rows.jsonl", question: str = "Is {{number}} even?") -> None:
    task = {"task": "parity", "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(folder / file)}}}
    task |= {"test_split": "test", "output_type": "multiple_choice", "doc_to_text": question}
    task |= {"doc_to_choice": [" yes", " no"], "doc_to_target": "label", "metric_list": [{"metric": "acc"}]}
    (folder / "parity.yaml").write_text(json.dumps(task))  # YAML, too


def test_a_task_is_run(tasks: Path, tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    write_task(tasks)
    check_tasks(["parity"], str(tasks))
    model: Any = AutoModelForCausalLM.from_pretrained(tiny_model)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    assert 0 <= run_tasks(model, tokenizer, ["parity"], str(tasks), 4, 2)["parity"]["acc,none"] <= 1


def test_a_task_without_its_data_is_refused_before_training(tasks: Path) -> None:
    write_task(tasks, file="gone.jsonl")
    with pytest.raises(UserError, match=r"lm-eval cannot run parity: FileNotFoundError: .*gone\.jsonl"):
        check_tasks(["parity"], str(tasks))


def test_a_task_with_a_fault_in_its_template_is_refused_before_training(tasks: Path) -> None:
    write_task(tasks, question="Is {{gone.number}} even?")
    with pytest.raises(UserError, match="lm-eval cannot run parity: UndefinedError: 'gone' is undefined"):
        check_tasks(["parity"], str(tasks))


def test_a_task_that_does_not_exist_is_refused(tasks: Path) -> None:
    with pytest.raises(UserError, match="no task of lm-eval is called party, nor in"):
        check_tasks(["party"], str(tasks))


def test_any_fault_of_a_task_is_told_and_a_stop_on_request_stays_one() -> None:
    with pytest.raises(UserError, match="cannot run a, b: ZeroDivisionError"), _faults_told(["a", "b"]):
        print(1 / 0)
    with pytest.raises(Preempted), _faults_told(["a"]):
        raise Preempted("stopped")
