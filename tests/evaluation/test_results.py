from __future__ import annotations

import csv
import json
import math
from pathlib import Path

from tuning.evaluation.generation_metrics import Prediction
from tuning.evaluation.questions import Question
from tuning.evaluation.results import EvalResult

METRICS = {"eval_loss": 1.5, "perplexity": 4.0, "eval_runtime": 3.0, "epoch": 1.0}
TASKS = {"parity": {"acc,none": 0.5, "acc_stderr,none": 0.1, "alias": "parity", "sample_len": 8}}


def result() -> EvalResult:
    question = Question("rows row 1", [1, 2], "prompt", "answer", 1)
    baseline = {"eval_loss": 2.0, "perplexity": 9.0}
    return EvalResult(METRICS, [Prediction(question, "text", {"exact_match": 0.0})], baseline, TASKS)


def test_the_difference_is_the_model_less_its_base() -> None:
    assert result().difference() == {"eval_loss": -0.5, "perplexity": -5.0}


def test_times_are_no_scores() -> None:
    assert set(result().scores()) == {"eval_loss", "perplexity", "lm_eval/parity/acc", "lm_eval/parity/acc_stderr"}


def test_json_holds_everything(tmp_path: Path) -> None:
    files = result().write(tmp_path)
    assert [file.name for file in files] == ["eval.json", "predictions.jsonl"]
    found = json.loads(files[0].read_text())
    assert found["eval_loss"] == 1.5
    assert found["baseline"]["perplexity"] == 9.0
    assert found["lm_eval"]["parity"]["acc,none"] == 0.5


def test_csv_holds_a_row_for_each_score(tmp_path: Path) -> None:
    (file, _) = result().write(tmp_path, "csv")
    rows = {row["metric"]: row for row in csv.DictReader(file.open())}
    assert rows["eval_loss"] == {"metric": "eval_loss", "score": "1.5", "baseline": "2.0", "difference": "-0.5"}
    assert rows["lm_eval/parity/acc"]["baseline"] == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["eval.csv", "predictions.jsonl"]


def test_predictions_are_one_object_a_line(tmp_path: Path) -> None:
    (line,) = result().write(tmp_path)[1].read_text().splitlines()
    wanted = {"row": "rows row 1", "prompt": "prompt", "answer": "answer", "prediction": "text"}
    assert json.loads(line) == {**wanted, "scores": {"exact_match": 0.0}}


def test_without_predictions_there_is_no_file_of_them(tmp_path: Path) -> None:
    assert [file.name for file in EvalResult(METRICS).write(tmp_path)] == ["eval.json"]
    assert "baseline" not in EvalResult(METRICS).to_dict()


def test_the_table_is_aligned() -> None:
    assert EvalResult(METRICS).lines() == ["metric      score", "eval_loss     1.5", "perplexity      4"]


def test_a_number_that_is_none_is_null_in_json_and_nothing_in_csv(tmp_path: Path) -> None:
    diverged = EvalResult({"eval_loss": math.nan}, baseline={"eval_loss": 2.0}, lm_eval={"parity": {"acc": math.inf}})
    (file,) = diverged.write(tmp_path)
    found = json.loads(file.read_text(), parse_constant=lambda name: name)
    assert found["eval_loss"] is found["difference"]["eval_loss"] is found["lm_eval"]["parity"]["acc"] is None
    (file,) = diverged.write(tmp_path, "csv")
    assert next(csv.DictReader(file.open()))["score"] == ""


def test_nothing_of_an_earlier_evaluation_is_left(tmp_path: Path) -> None:
    result().write(tmp_path)
    EvalResult(METRICS).write(tmp_path, "csv")
    assert [path.name for path in tmp_path.iterdir()] == ["eval.csv"]
