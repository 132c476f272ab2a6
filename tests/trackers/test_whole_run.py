"""A real training, read back from all three backends with their own readers."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from stored import read_aim, read_mlflow, read_wandb, same_series

from tuning.trackers.params import as_text
from tuning.trackers.replay import read_params, read_series

pytestmark = pytest.mark.slow

SECRET = "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz012345"


@pytest.fixture(scope="module")
def trained(tiny_model: Path, mlflow_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp_path = tmp_path_factory.mktemp("whole_run")
    rows = [{"prompt": f"Say {number}: ", "completion": str(number)} for number in range(40)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    shutil.copy(mlflow_db, tmp_path / "mlflow.db")
    settings = {
        "model_name_or_path": str(tiny_model),
        "training_data_path": "rows.jsonl",
        "validation_fraction": 0.2,
        "output_dir": "out",
        "max_steps": 6,
        "logging_steps": 1,
        "trackers": ["aim", "mlflow", "wandb"],
        "mlflow_tracking_uri": "sqlite:///mlflow.db",
        "finish_timeout": 120,
        "system_metrics_interval": 0.5,
        "hub_token": SECRET,
        "exp_metadata": {"team": "tests", "deep": {"er": [1, 2]}},
    }
    (tmp_path / "run.json").write_text(json.dumps(settings))
    code = (
        "import sys, json, tuning\n"
        "tuning.train(json.load(open('run.json')), additional_metrics={'rows_per_file': 40.0})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return tmp_path


def test_all_three_backends_hold_what_the_run_recorded(trained: Path) -> None:
    tracking = trained / "out" / "tracking"
    params, series = read_params(tracking / "events.jsonl"), read_series(tracking / "events.jsonl")
    aim, wandb = read_aim(tracking / "aim"), read_wandb(tracking)
    mlflow = read_mlflow(f"sqlite:///{trained / 'mlflow.db'}")
    for stored in (aim, mlflow, wandb):
        assert (stored.num_runs, stored.state) == (1, "finished")
        assert same_series(stored.series, series)
    assert aim.params == wandb.params == params
    assert mlflow.params == {key: as_text(value) for key, value in params.items()}


def test_the_record_holds_config_reasons_metadata_and_custom_metrics(trained: Path) -> None:
    events = trained / "out" / "tracking" / "events.jsonl"
    params, series = read_params(events), read_series(events)
    assert params["config.training.max_steps"] == 6
    assert params["sources.training.learning_rate"] == "action LearningRate"
    recommended = {
        key.rpartition(".")[2] for key in params if key.startswith("recommendations.training.learning_rate.")
    }
    assert recommended == {"value", "reason", "level", "source", "action"}
    assert params["metadata.team"] == "tests"
    assert series["additional/rows_per_file"] == [(0, 40.0)]
    assert [step for step, _ in series["train/loss"]] == [1, 2, 3, 4, 5, 6]
    assert "eval/loss" in series


def test_every_run_records_where_it_took_place_and_what_it_was_made_from(trained: Path, tiny_model: Path) -> None:
    params = read_params(trained / "out" / "tracking" / "events.jsonl")
    digest = hashlib.sha256((trained / "rows.jsonl").read_bytes()).hexdigest()
    assert (params["data.training.sha256"], params["data.training.rows"]) == (digest, 40)
    assert params["model.path"] == str(tiny_model) and len(str(params["model.sha256"])) == 64
    assert params["environment.python"] == sys.version.split()[0] and params["environment.hardware.cpu"]
    assert params["environment.packages.transformers"] and params["environment.argv"] == '["-c"]'
    assert params["results.model_folder"] == str(trained / "out" / "model")


def test_the_machine_is_watched_while_the_run_goes_on(trained: Path) -> None:
    series = read_series(trained / "out" / "tracking" / "events.jsonl")
    seconds = [step for step, _ in series["system/process_memory_gib"]]
    assert len(seconds) >= 3 and seconds == sorted(set(seconds))
    assert max(value for _, value in series["system/process_memory_gib"]) <= series["summary/peak_memory_gib"][0][1]


def test_trackers_that_know_datasets_and_files_hold_them(trained: Path) -> None:
    digest = hashlib.sha256((trained / "rows.jsonl").read_bytes()).hexdigest()
    tracking = trained / "out" / "tracking"
    for stored in (read_aim(tracking / "aim"), read_mlflow(f"sqlite:///{trained / 'mlflow.db'}"), read_wandb(tracking)):
        assert stored.datasets == {digest: "training"}
        assert {"config.json", "recommendations.json"} <= {name.replace("_json", ".json") for name in stored.artifacts}


def test_neither_the_run_folder_nor_a_store_holds_the_token(trained: Path) -> None:
    files = [
        path for path in trained.rglob("*") if path.is_file() and path.name not in ("run.json", "training_args.bin")
    ]
    assert len(files) > 20 and not [path for path in files if SECRET.encode() in path.read_bytes()]
