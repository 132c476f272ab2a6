"""Help and refusals: quick, without torch, with one clear message, and nothing written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPORT = (
    "import sys\n"
    "from tuning.sft_trainer import main\n"
    "code = main(sys.argv[1:])\n"
    "heavy = {'torch', 'transformers', 'datasets', 'trl', 'peft', 'aim', 'mlflow', 'wandb'} & set(sys.modules)\n"
    "print('HEAVY', sorted(heavy))\n"
    "sys.exit(code)"
)


def call(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", REPORT, *words], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def config(tiny_config_only_model: Path, tmp_path: Path) -> Path:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 8)
    settings = {"model_name_or_path": str(tiny_config_only_model), "train_from_scratch": True}
    settings |= {"training_data_path": "rows.jsonl", "output_dir": "out"}
    (tmp_path / "run.json").write_text(json.dumps(settings))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["learning_rat=1"], "learning_rat: got 1 (from command line); there is no such field. Did you mean"),
        (["learning_rate=fast"], "training.learning_rate: got 'fast' (from command line); expected a number, above 0"),
        (["training_data_path=missing.jsonl"], "data.training_data_path: got 'missing.jsonl' (from command line)"),
        (["model_name_or_path=./missing"], "model.model_name_or_path: got './missing' (from command line)"),
        (["train_from_scratch=false"], "the folder holds no weights. Set train_from_scratch=true"),
        (["trackers=amlflow"], "tracking.trackers"),
        (["num_processes=2"], "2 processes were asked for, and 1 started"),
        (
            ["gpus=2", "gpu_memory_gib=80"],
            "compute.num_gpus_per_node: got 2 (from command line); 2 processes were asked",
        ),
        (["resume_from_checkpoint=nowhere"], "'nowhere' is not a complete checkpoint"),
        (["resume_from_checkpoint=true"], "there is no complete checkpoint in out"),
        (["response_template=#", "dataset_text_field=prompt"], "8 of 8 rows cannot be trained on"),
        (
            ["eval_strategy=steps", "recommend=false"],
            "training.eval_strategy: got 'steps' (from command line); needs held",
        ),
        (["dataset_text_field=body"], "there is no column body; the rows have: prompt, completion"),
    ],
)
def test_a_refusal_is_one_clear_message_and_nothing_else(config: Path, words: list[str], told: str) -> None:
    before = sorted(config.rglob("*"))
    done = call("run.json", *words, cwd=config)
    assert done.returncode == 1
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert "HEAVY []" in done.stdout
    assert sorted(config.rglob("*")) == before


def test_a_missing_configuration_file_is_a_refusal_too(tmp_path: Path) -> None:
    done = call("missing.json", cwd=tmp_path)
    assert (done.returncode, "HEAVY []" in done.stdout) == (1, True)
    assert done.stderr.startswith("--config: No such file: 'missing.json', nor a config of that name.")


def test_help_tells_every_field_and_imports_nothing_dear(tmp_path: Path) -> None:
    from tuning.config.names import field_paths

    done = call("--help", cwd=tmp_path)
    assert (done.returncode, "HEAVY []" in done.stdout) == (0, True)
    assert [name for name in field_paths() if f"  {name}  (" not in done.stdout] == []


def test_a_reader_of_the_help_may_stop_early(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tuning.sft_trainer", "--help"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    error = process.stderr.read()
    assert (process.wait(timeout=60), error) == (0, "")


def test_pickled_weights_are_refused_by_name(config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"")
    done = call("run.json", f"model_name_or_path={folder}", "train_from_scratch=false", cwd=config)
    assert (done.returncode, "pickled" in done.stderr) == (1, True)


@pytest.mark.parametrize("words", [["num_processes=2"], ["gpus=8", "gpu_memory_gib=80"]])
def test_a_configuration_for_another_machine_is_valid_here(config: Path, words: list[str]) -> None:
    command = [sys.executable, "-m", "tuning.cli", "validate", "run.json", *words]
    done = subprocess.run(command, cwd=config, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.startswith("valid: ")) == (0, True), done.stderr
