from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tuning.recommender.cli import main
from tuning.recommender.four_files import FMS_LAUNCH_FILE, LAUNCH_FILE, read_four

NAMES = ("tuning_config.yaml", "tuning_data_config.yaml", "accelerate_config.yaml", "compute_config.yaml")


@pytest.fixture
def files(tmp_path: Path, tiny_config_only_model: Path) -> dict[str, str]:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"input": f"{n} + 1", "output": str(n + 1)}) + "\n" for n in range(600)))
    tuning = {"model_name_or_path": str(tiny_config_only_model), "training_data_path": str(rows)}
    tuning |= {"peft_method": "lora", "max_seq_length": 128, "output_dir": "it's; out"}
    tuning |= {"additional_data_handlers": "handlers.py"}
    (tmp_path / "tuning.yaml").write_text(yaml.safe_dump(tuning))
    (tmp_path / "compute.json").write_text(json.dumps({"num_nodes": 1, "num_gpus_per_node": 2}))
    return {"--tuning-config": str(tmp_path / "tuning.yaml"), "--compute-config": str(tmp_path / "compute.json")}


def words(files: Mapping[str, str]) -> list[str]:
    return [word for pair in files.items() for word in pair]


def test_four_files_are_completed_and_written_again(
    files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out"
    assert main([*words(files), "--output-dir", str(folder)]) == 0
    others = {LAUNCH_FILE, FMS_LAUNCH_FILE, "config.json", "recommendations.json"}
    assert {file.name for file in folder.iterdir()} == {*NAMES, *others}
    tuning = yaml.safe_load((folder / "tuning_config.yaml").read_text())
    assert (tuning["max_seq_length"], tuning["peft_method"]) == (128, "lora")
    assert tuning["learning_rate"] > 0 and tuning["r"] > 0
    assert "not read: additional_data_handlers" in capsys.readouterr().err


def test_the_launch_command_of_fms_hf_tuning_keeps_hostile_text_in_one_word(
    files: dict[str, str], tmp_path: Path
) -> None:
    main([*words(files), "--output-dir", str(tmp_path / "out")])
    command = shlex.split((tmp_path / "out" / FMS_LAUNCH_FILE).read_text().splitlines()[-1])
    assert command[:5] == ["exec", "accelerate", "launch", "--config_file", "$here/accelerate_config.yaml"]
    assert command[command.index("--output_dir") + 1] == "it's; out"


def test_our_launch_command_starts_our_document_with_the_processes_that_it_asks_for(
    files: dict[str, str], tmp_path: Path
) -> None:
    main([*words(files), "--output-dir", str(tmp_path / "out")])
    line = (tmp_path / "out" / LAUNCH_FILE).read_text().splitlines()[-1]
    launcher = 'accelerate launch --config_file "$here/accelerate_config.yaml"'
    assert line == f'exec {launcher} -m tuning.sft_trainer "$here/config.json" "$@"'
    main([*words({"--tuning-config": files["--tuning-config"]}), "--output-dir", str(tmp_path / "one")])
    line = (tmp_path / "one" / LAUNCH_FILE).read_text().splitlines()[-1]
    assert line == 'exec python -m tuning.sft_trainer "$here/config.json" "$@"'


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_the_launch_script_trains_from_the_folder_in_which_the_files_were_made(
    processes: int, project_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(project_root / "examples" / "quickstart", tmp_path / "here" / "start")
    monkeypatch.chdir(tmp_path / "here")
    tuning = {"model_name_or_path": "start/model", "training_data_path": "start/train.jsonl", "output_dir": "run"}
    tuning |= {"train_from_scratch": True, "use_cpu": True, "max_steps": 2}
    Path("tuning.yaml").write_text(yaml.safe_dump(tuning))
    given = ["--tuning-config", "tuning.yaml", f"num_processes={processes}", "num_gpus_per_node=0"]
    assert main([*given, "--output-dir", "made here"]) == 0
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    environ |= {"PYTHONPATH": str(project_root)}
    command = ["sh", "made here/launch.sh", "trackers=none"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert f"world size {processes}, device cpu" in done.stderr
    assert Path("run/checkpoint-2").is_dir() and Path("run/model").is_dir()


def test_what_was_written_is_read_again_as_the_same_run(files: dict[str, str], tmp_path: Path) -> None:
    out, again = tmp_path / "out", tmp_path / "again"
    main([*words(files), "--output-dir", str(out)])
    flags = ("--tuning-config", "--tuning-data-config", "--accelerate-config", "--compute-config")
    written = {flag: str(out / name) for flag, name in zip(flags, NAMES, strict=True)}
    assert main([*words(written), "--output-dir", str(again)]) == 0
    for name in NAMES:
        assert yaml.safe_load((again / name).read_text()) == yaml.safe_load((out / name).read_text())


def test_a_setting_of_the_command_line_wins_over_the_files(files: dict[str, str]) -> None:
    ir = read_four({"tuning": files["--tuning-config"]}, ["max_length=64"])
    assert ir.get("training.max_length") == 64
    assert ir.sources["training.max_length"] == "command line"
    assert ir.sources["peft.peft_method"] == f"file {files['--tuning-config']}"


@pytest.mark.parametrize(
    ("flag", "text", "message"),
    [
        ("--tuning-config", "learning_rate: [1", "cannot be read"),
        ("--tuning-config", "- 1", "expected an object"),
        ("--tuning-config", "learning_rate: fast", "got 'fast'"),
        ("--tuning-data-config", "dataprocessor: 3", "dataprocessor"),
        ("--accelerate-config", "num_processes: many", "many"),
        ("--compute-config", "num_nodes: 0", "num_nodes"),
    ],
)
def test_a_file_that_cannot_be_used_ends_with_1_and_writes_nothing(
    files: dict[str, str], flag: str, text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    given = {**files, flag: str(tmp_path / "bad.yaml")}
    assert main([*words(given), "--output-dir", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert message in told and "Traceback" not in told
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--compute-config", "missing.yaml"], "missing.yaml: cannot be read"),
        (["run.json"], "run.json: a configuration of ours is read alone"),
        (["nonsense=1"], "there is no such field"),
    ],
)
def test_other_words_that_do_not_go_together_are_refused(
    files: dict[str, str], argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--tuning-config", files["--tuning-config"], *argv]) == 1
    assert message in capsys.readouterr().err


def test_without_a_model_that_is_what_is_missing(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--compute-config", files["--compute-config"]]) == 1
    assert "model.model_name_or_path: a model is required" in capsys.readouterr().err
