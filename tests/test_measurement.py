from __future__ import annotations

import csv
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def settings(tiny_model: Path, tmp_path: Path) -> dict[str, Any]:
    rows = [{"prompt": f"What is {number} + 1?", "completion": f" {number + 1}"} for number in range(30)]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    given = {"model_name_or_path": str(tiny_model), "training_data_path": str(tmp_path / "rows.jsonl")}
    given |= {"validation_fraction": 0.3, "max_steps": 4, "save_steps": 2, "use_cpu": True, "bf16": False}
    given |= {"dataset_prepared_path": str(tmp_path / "prepared"), "learning_rate": 1e-2, "audit": "off"}
    asked = {"baseline": True, "generation_metrics": ["exact_match"], "generation_rows": 4}
    return {**given, **asked, "output_dir": str(tmp_path / "run")}


def trained(settings: dict[str, Any]) -> dict[str, Any]:
    from tuning.sft_trainer import train

    train(settings)
    return json.loads((Path(settings["output_dir"]) / "eval.json").read_text())


def untrained_loss(settings: dict[str, Any]) -> float:
    from tuning.evaluate_cli import evaluate_saved

    run = Path(settings["output_dir"]) / "config.json"
    words = [str(run), "baseline=false", "generation_metrics=exact_match"]
    return evaluate_saved(settings["model_name_or_path"], words).metrics["eval_loss"]


@pytest.mark.parametrize("method", ["lora", "none"])
def test_the_base_is_measured_before_training(settings: dict[str, Any], method: str) -> None:
    found = trained({**settings, "peft_method": method})
    assert found["baseline"]["eval_loss"] == pytest.approx(untrained_loss(settings), abs=1e-5)
    assert found["eval_loss"] < found["baseline"]["eval_loss"]
    assert found["difference"]["eval_loss"] == found["eval_loss"] - found["baseline"]["eval_loss"]
    assert {"eval_exact_match", "eval_token_f1_macro", "perplexity"} <= set(found["difference"])


def test_a_baseline_changes_nothing_of_the_training(settings: dict[str, Any], tmp_path: Path) -> None:
    both = [
        trained({**settings, "baseline": baseline, "output_dir": str(tmp_path / str(baseline)), "lora_dropout": 0.5})
        for baseline in (True, False)
    ]
    assert both[0]["eval_loss"] == both[1]["eval_loss"]
    assert "baseline" not in both[1]


def test_a_run_that_goes_on_keeps_its_baseline(settings: dict[str, Any]) -> None:
    first = trained(settings)
    again = trained({**settings, "max_steps": 6})
    assert again["baseline"] == first["baseline"]
    assert again["eval_loss"] != first["eval_loss"]


def test_a_run_that_goes_on_without_a_baseline_does_not_make_one_up(settings: dict[str, Any]) -> None:
    trained({**settings, "baseline": False})
    again = trained({**settings, "max_steps": 6})
    assert "baseline" not in again


def test_results_are_csv_where_that_is_asked_for_and_trackers_have_them(settings: dict[str, Any]) -> None:
    from tuning.sft_trainer import train

    train({**settings, "eval_save_format": "csv"})
    run = Path(settings["output_dir"])
    rows = {row["metric"]: row for row in csv.DictReader((run / "eval.csv").open())}
    assert float(rows["eval_loss"]["difference"]) < 0
    assert not (run / "eval.json").exists()
    told: dict[str, float] = {}
    for line in (run / "tracking" / "events.jsonl").read_text().splitlines():
        record = json.loads(line)
        told |= record["values"] if record["type"] == "metrics" else {}
    assert told["final/eval_loss"] == float(rows["eval_loss"]["score"])
    assert {"baseline/eval_exact_match", "difference/eval_loss", "final/perplexity"} <= set(told)


def test_predictions_name_rows_prompts_and_answers(settings: dict[str, Any]) -> None:
    trained(settings)
    lines = (Path(settings["output_dir"]) / "predictions.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    assert len(found) == 4
    for one in found:
        number = int(one["row"].rpartition(" ")[2])
        assert (one["prompt"], one["answer"]) == (f"What is {number - 1} + 1?", f" {number}")
        assert set(one["scores"]) == {"exact_match"}


ONE_METRIC = """
import os, pathlib, sys
from tuning.evaluation.generation_metrics import GENERATION_METRICS, GenerationMetric, Scored
from tuning.sft_trainer import main

def score(predictions):
    pathlib.Path("scored_on_" + os.environ["RANK"]).touch()
    return Scored({"rows": float(len(predictions))}, [{} for _ in predictions])

GENERATION_METRICS.register("rows")(GenerationMetric(score))
sys.exit(main(sys.argv[1:]))
"""


def test_two_processes_share_the_questions(settings: dict[str, Any], tmp_path: Path, project_root: Path) -> None:
    config = tmp_path / "run.json"
    config.write_text(json.dumps({**settings, "generation_rows": 3, "generation_metrics": ["rows"]}))
    (tmp_path / "job.py").write_text(ONE_METRIC)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launch = [
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes",
        "2",
        "--main_process_port",
        port,
    ]
    environment = {**os.environ, "PYTHONPATH": str(project_root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launch, "job.py", str(config)]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    found = json.loads((tmp_path / "run" / "eval.json").read_text())
    assert found["baseline"]["eval_loss"] == pytest.approx(untrained_loss(settings), abs=1e-5)
    assert len((tmp_path / "run" / "predictions.jsonl").read_text().splitlines()) == 3
    assert (found["eval_rows"], found["baseline"]["eval_rows"]) == (3, 3)
    assert [file.name for file in tmp_path.glob("scored_on_*")] == ["scored_on_0"]


def test_an_answer_too_long_is_refused_before_anything_is_written(settings: dict[str, Any], tmp_path: Path) -> None:
    from tuning.errors import UserError
    from tuning.sft_trainer import train

    with pytest.raises(UserError, match=r"evaluation.max_new_tokens: 600 tokens.*choose at most 255"):
        train({**settings, "max_new_tokens": 600})
    assert not (tmp_path / "run").exists()


def test_one_long_held_out_answer_does_not_end_the_run(settings: dict[str, Any], tmp_path: Path) -> None:
    row = {"prompt": "What is long?", "completion": " The heron waits beside the river." * 60}
    (tmp_path / "long.jsonl").write_text(f"{json.dumps(row)}\n")
    given = {**settings, "validation_fraction": None, "validation_data_path": str(tmp_path / "long.jsonl")}
    assert "eval_exact_match" in trained({**given, "baseline": False, "max_steps": 1})


def test_rows_without_prompts_are_refused_before_anything_is_written(settings: dict[str, Any], tmp_path: Path) -> None:
    from tuning.errors import UserError
    from tuning.sft_trainer import train

    (tmp_path / "texts.jsonl").write_text('{"text": "all of it"}\n' * 9)
    with pytest.raises(UserError, match="has no prompt before its answer"):
        train({**settings, "training_data_path": str(tmp_path / "texts.jsonl")})
    assert not (tmp_path / "run").exists()


def test_a_fault_in_the_evaluation_costs_no_training(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from tuning import sft_trainer

    def fault(*_: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(sft_trainer, "evaluate", fault)
    with pytest.raises(RuntimeError, match="broken"):
        sft_trainer.train(settings)
    assert (Path(settings["output_dir"]) / "model").is_dir()
    monkeypatch.undo()
    assert trained(settings)["baseline"]["eval_loss"] > 0


def test_a_stop_during_the_evaluation_keeps_the_model_and_the_same_command_goes_on(settings: dict[str, Any]) -> None:
    from transformers import TrainerCallback

    from tuning.errors import Preempted
    from tuning.sft_trainer import train

    class StopAfterTraining(TrainerCallback):
        def on_train_end(self, *_: Any, **__: Any) -> None:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Preempted, match=r"during the evaluation; .* the same command goes on"):
        train(settings, [StopAfterTraining()])
    assert (Path(settings["output_dir"]) / "model").is_dir()
    assert trained(settings)["eval_loss"] > 0


def test_a_stop_while_the_base_is_measured_ends_the_run_at_once(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tuning import measurement
    from tuning.errors import Preempted
    from tuning.sft_trainer import train

    monkeypatch.setattr(measurement, "measure", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Preempted, match="before the first step"):
        train(settings)
    assert not list(Path(settings["output_dir"]).glob("checkpoint-*"))


def test_a_finished_run_that_was_moved_is_measured_anew_on_other_rows(settings: dict[str, Any], tmp_path: Path) -> None:
    best = {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 2, "baseline": True}
    rows, others = (tmp_path / "rows.jsonl").read_text().splitlines(keepends=True), tmp_path / "others.jsonl"
    others.write_text("".join(rows[:5]))
    given = {**settings, **best, "validation_fraction": None, "metric_for_best_model": "perplexity"}
    first = trained({**given, "validation_data_path": str(tmp_path / "rows.jsonl")})
    (tmp_path / "run").rename(tmp_path / "moved")
    again = trained({**given, "validation_data_path": str(others), "output_dir": str(tmp_path / "moved")})
    assert again["eval_loss"] != first["eval_loss"]
    assert "baseline" in first and "baseline" not in again


def test_a_best_checkpoint_that_is_gone_is_named(tmp_path: Path) -> None:
    from tuning.errors import UserError
    from tuning.sft_trainer import _beside

    (tmp_path / "checkpoint-2").mkdir()
    assert _beside(str(tmp_path / "checkpoint-4"), "elsewhere/checkpoint-2") == str(tmp_path / "checkpoint-2")
    with pytest.raises(UserError, match=r"the best checkpoint, .*checkpoint-3, is gone"):
        _beside(str(tmp_path / "checkpoint-4"), "elsewhere/checkpoint-3")


def test_the_smallest_perplexity_is_the_best(tmp_path: Path) -> None:
    from tuning.arguments import sft_config
    from tuning.config.schema import TuningConfig

    def greater(name: str, **given: Any) -> bool | None:
        training = {"output_dir": str(tmp_path), "use_cpu": True, "bf16": False, "metric_for_best_model": name, **given}
        return sft_config(TuningConfig.model_validate({"training": training})).greater_is_better

    assert [greater(name) for name in ("perplexity", "eval_perplexity", "eval_loss")] == [False] * 3
    assert greater("eval_token_accuracy") and greater("perplexity", greater_is_better=True)


def test_results_of_an_earlier_run_are_moved_out_of_the_way(settings: dict[str, Any]) -> None:
    from tuning.sft_trainer import train

    trained({**settings, "save_strategy": "no"})
    train({**settings, "resume_from_checkpoint": False, "eval_save_format": "csv"} | {"baseline": False})
    run = Path(settings["output_dir"])
    earlier = {path.name for path in (run / "earlier.1").iterdir()}
    assert earlier == {"eval.json", "baseline.json", "predictions.jsonl", "report.html"}
    assert not (run / "eval.json").exists() and not (run / "baseline.json").exists()
