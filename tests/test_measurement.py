from __future__ import annotations

import csv
import json
import os
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
    return evaluate_saved(settings["model_name_or_path"], [str(run), "baseline=false"]).metrics["eval_loss"]


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


def test_two_processes_share_the_questions(settings: dict[str, Any], tmp_path: Path, project_root: Path) -> None:
    config = tmp_path / "run.json"
    config.write_text(json.dumps({**settings, "generation_rows": 3, "per_device_train_batch_size": 2}))
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
        "-m",
    ]
    environment = {**os.environ, "PYTHONPATH": str(project_root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launch, "tuning.sft_trainer", str(config)]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    found = json.loads((tmp_path / "run" / "eval.json").read_text())
    assert found["baseline"]["eval_loss"] == pytest.approx(untrained_loss(settings), abs=1e-5)
    assert len((tmp_path / "run" / "predictions.jsonl").read_text().splitlines()) == 3


def test_rows_without_prompts_are_refused_before_anything_is_written(settings: dict[str, Any], tmp_path: Path) -> None:
    from tuning.errors import UserError
    from tuning.sft_trainer import train

    (tmp_path / "texts.jsonl").write_text('{"text": "all of it"}\n' * 9)
    with pytest.raises(UserError, match="has no prompt before its answer"):
        train({**settings, "training_data_path": str(tmp_path / "texts.jsonl")})
    assert not (tmp_path / "run").exists()
