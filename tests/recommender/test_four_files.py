from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from tuning.recommender.cli import main
from tuning.recommender.four_files import LAUNCH_FILE, read_four

NAMES = ("tuning_config.yaml", "tuning_data_config.yaml", "accelerate_config.yaml", "compute_config.yaml")


@pytest.fixture
def files(tmp_path: Path, tiny_config_only_model: Path) -> dict[str, str]:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"input": f"{n} + 1", "output": str(n + 1)}) + "\n" for n in range(600)))
    tuning = {"model_name_or_path": str(tiny_config_only_model), "training_data_path": str(rows)}
    tuning |= {"peft_method": "lora", "max_seq_length": 128, "output_dir": "it's; out", "fast_moe": 2}
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
    assert {file.name for file in folder.iterdir()} == {*NAMES, LAUNCH_FILE, "recommendations.json"}
    tuning = yaml.safe_load((folder / "tuning_config.yaml").read_text())
    assert (tuning["max_seq_length"], tuning["peft_method"]) == (128, "lora")
    assert tuning["learning_rate"] > 0 and tuning["r"] > 0
    assert "not read: fast_moe" in capsys.readouterr().err


def test_the_launch_command_keeps_hostile_text_in_one_word(files: dict[str, str], tmp_path: Path) -> None:
    main([*words(files), "--output-dir", str(tmp_path / "out")])
    command = shlex.split((tmp_path / "out" / LAUNCH_FILE).read_text().splitlines()[-1])
    assert command[:2] == ["accelerate", "launch"]
    assert command[command.index("--output_dir") + 1] == "it's; out"


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
