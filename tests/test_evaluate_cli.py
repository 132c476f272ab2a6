from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tuning.cli import main


@pytest.fixture
def config(tiny_config_only_model: Path, tmp_path: Path) -> Path:
    rows = [{"prompt": f"What is {number} + 1?", "completion": f" {number + 1}"} for number in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    settings = {"model_name_or_path": str(tiny_config_only_model), "validation_fraction": 0.5, "use_cpu": True}
    settings |= {"training_data_path": str(tmp_path / "rows.jsonl"), "output_dir": str(tmp_path / "never")}
    (tmp_path / "run.json").write_text(json.dumps(settings))
    return tmp_path / "run.json"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--config"], "a model's folder or Hub id is required"),
        (["./none", "rows.jsonl=1"], "there is no such field"),
        (["./none"], "there are no rows to measure on"),
        (["./none", "validation_fraction=0.5", "training_data_path=none.jsonl"], "there is no such file"),
        (["./none", "--output-dir"], "expected a folder after it"),
    ],
)
def test_bad_words_are_one_message_and_exit_code_1(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *words]) == 1
    error = capsys.readouterr().err
    assert told in error
    assert "Traceback" not in error


def test_metrics_and_models_are_checked_before_anything_is_loaded(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "./none", "--config", str(config), 'generation_metrics=["rogue"]']) == 1
    error = capsys.readouterr().err
    assert "there is no such folder" in error
    assert "Did you mean 'rouge'" in error


def test_what_a_run_exports_is_no_concern_of_an_evaluation(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "./none", "--config", str(config), "export_formats=adapter"]) == 1
    error = capsys.readouterr().err
    assert "there is no such folder" in error and "export" not in error


@pytest.mark.slow
def test_a_model_is_measured_and_nothing_else_is_written(
    tiny_model: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["generation_metrics=exact_match", "generation_rows=3", "--output-dir", str(tmp_path / "found")]
    assert main(["evaluate", str(tiny_model), "--config", str(config), *words]) == 0
    assert "eval_token_f1_macro" in capsys.readouterr().out
    found = json.loads((tmp_path / "found" / "eval.json").read_text())
    assert found["eval_loss"] > 0
    assert len((tmp_path / "found" / "predictions.jsonl").read_text().splitlines()) == 3
    assert not (tmp_path / "never").exists()


@pytest.mark.slow
def test_a_file_of_rows_is_enough(tiny_model: Path, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = config.with_name("rows.jsonl")
    assert main(["evaluate", str(tiny_model), f"validation_data_path={rows}", "use_cpu=true"]) == 0
    assert "perplexity" in capsys.readouterr().out


@pytest.mark.slow
def test_rows_that_cannot_be_measured_are_counted_and_told(
    tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from tuning.evaluate_cli import evaluate_saved

    rows = [{"prompt": "The heron waits. " * times, "completion": " yes"} for times in (1, 1, 40, 1, 40)]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in [*rows, {"prompt": "a"}]))
    words = [f"validation_data_path={tmp_path / 'rows.jsonl'}", "max_length=60", "use_cpu=true", "baseline=true"]
    found = evaluate_saved(
        str(tiny_model), [*words, "max_skipped_share=0.5", f"model_name_or_path={copied(tiny_model, tmp_path)}"]
    )
    assert (found.metrics["eval_num_rows"], found.metrics["eval_num_rows_left_out"]) == (3, 3)
    assert "validation: 2 of 5 rows have no response within max_length=60; they are left out" in caplog.text
    assert "1 of 6 rows cannot be trained on" in caplog.text
    assert "eval_num_rows" not in found.difference()
    assert "eval_model_preparation_time" not in found.metrics


def copied(model: Path, folder: Path) -> Path:
    return Path(shutil.copytree(model, folder / "base"))


@pytest.mark.slow
def test_a_configuration_of_a_sharded_run_measures_in_one_process(tiny_model: Path, config: Path) -> None:
    from tuning.evaluate_cli import evaluate_saved

    sharded = {"fsdp": "full_shard", "fsdp_config": {"fsdp_version": 2}, "push_to_hub": True, "torch_compile": True}
    accelerate = {"distributed_type": "FSDP", "num_processes": 8}
    given = {**json.loads(config.read_text()), **sharded, "accelerate": accelerate, "compute": {"num_processes": 8}}
    config.write_text(json.dumps(given))
    assert evaluate_saved(str(tiny_model), [str(config)]).metrics["eval_num_rows"] == 10


@pytest.mark.slow
def test_rows_that_were_trained_on_need_not_be_there(tiny_model: Path, config: Path) -> None:
    from tuning.evaluate_cli import evaluate_saved

    words = [f"validation_data_path={config.with_name('rows.jsonl')}", "training_data_path=gone.jsonl", "use_cpu=true"]
    assert evaluate_saved(str(tiny_model), words).metrics["eval_num_rows"] == 20


@pytest.mark.slow
def test_an_answer_longer_than_the_models_positions_is_refused(
    tiny_model: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--config", str(config), "generation_metrics=exact_match", "max_new_tokens=256"]
    assert main(["evaluate", str(tiny_model), *words]) == 1
    assert "evaluation.max_new_tokens: 256 tokens" in (error := capsys.readouterr().err)
    assert "choose at most 255" in error


@pytest.mark.slow
def test_a_run_is_measured_again_as_it_measured_itself(tiny_model: Path, config: Path, tmp_path: Path) -> None:
    from tuning.evaluate_cli import evaluate_saved
    from tuning.sft_trainer import train

    given = {**json.loads(config.read_text()), "model_name_or_path": str(tiny_model), "max_steps": 3, "bf16": False}
    given |= {"peft_method": "lora", "learning_rate": 1e-2, "add_special_tokens": ["<new>"], "baseline": True}
    train({**given, "dataset_prepared_path": str(tmp_path / "prepared"), "audit": "off"})
    run = tmp_path / "never"
    wanted: dict[str, Any] = json.loads((run / "eval.json").read_text())
    found = evaluate_saved(str(run / "model"), [str(run / "config.json")])
    assert found.metrics["eval_loss"] == pytest.approx(wanted["eval_loss"], abs=1e-5)
    assert found.baseline is not None
    assert found.baseline["eval_token_accuracy"] == wanted["baseline"]["eval_token_accuracy"]


@pytest.mark.slow
def test_a_local_task_of_lm_eval_is_measured(tiny_model: Path, config: Path, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval")
    from tuning.evaluate_cli import evaluate_saved

    tasks = tmp_path / "tasks"
    tasks.mkdir()
    (tmp_path / "parity.jsonl").write_text("".join(f'{{"number": {n}, "label": {n % 2}}}\n' for n in range(8)))
    task = {"task": "parity", "dataset_path": "json", "test_split": "test", "output_type": "multiple_choice"}
    task |= {"dataset_kwargs": {"data_files": {"test": str(tmp_path / "parity.jsonl")}}, "doc_to_target": "label"}
    task |= {"doc_to_text": "Is {{number}} even?", "doc_to_choice": [" yes", " no"], "metric_list": [{"metric": "acc"}]}
    (tasks / "parity.yaml").write_text(json.dumps(task))
    words = [str(config), "lm_eval_tasks=parity", f"lm_eval_include_path={tasks}", "lm_eval_limit=6"]
    found = evaluate_saved(str(tiny_model), words)
    assert 0 <= found.lm_eval["parity"]["acc,none"] <= 1
    assert found.scores()["lm_eval/parity/acc"] == found.lm_eval["parity"]["acc,none"]
    assert main(["evaluate", str(tiny_model), *words[:1], "lm_eval_tasks=no_such_task"]) == 1


def _of_a_run(folder: Path, model: Path, **settings: Any) -> tuple[str, float]:
    """Train adapters; returns their folder, and the loss that the run measured at its end."""
    from tuning.sft_trainer import train

    rows = [json.dumps({"prompt": f"Say {number}: ", "completion": f" {number}"}) for number in range(24)]
    (folder / "rows.jsonl").write_text("\n".join(rows))
    given = {"model_name_or_path": str(model), "training_data_path": str(folder / "rows.jsonl"), "max_steps": 4}
    given |= {"output_dir": str(folder / "run"), "validation_fraction": 0.3, "use_cpu": True, "bf16": False}
    result = train({**given, "peft_method": "lora", "learning_rate": 0.02, "dtype": "float32", **settings})
    return str(result.model_folder), json.loads((folder / "run" / "eval.json").read_text())["eval_loss"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "quantization",
    [{"load_in_4bit": True}, {"plugins": {"peft": {"quantization": {"bitsandbytes": {"quant_type": "fp4"}}}}}],
    ids=["fields", "plugin"],
)
def test_adapters_are_measured_on_the_quantized_base_of_their_run(
    tiny_model: Path, tmp_path: Path, quantization: dict[str, Any]
) -> None:
    from tuning.evaluate_cli import evaluate_saved

    model, wanted = _of_a_run(tmp_path, tiny_model, **quantization)
    words = ["--config", str(tmp_path / "run" / "config.json")]
    whole = ["load_in_4bit=false"] if "load_in_4bit" in quantization else ["use_acceleration=false"]
    assert evaluate_saved(model, words).metrics["eval_loss"] == pytest.approx(wanted, abs=1e-4)
    assert evaluate_saved(model, [*words, *whole]).metrics["eval_loss"] != pytest.approx(wanted, abs=1e-4)
