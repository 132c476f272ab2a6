from __future__ import annotations

import json
from pathlib import Path

import pytest

from tuning.cli import main


@pytest.fixture
def config(tiny_config_only_model: Path, tmp_path: Path) -> str:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 8)
    settings = {"model_name_or_path": str(tiny_config_only_model), "train_from_scratch": True}
    settings |= {"training_data_path": str(tmp_path / "rows.jsonl"), "output_dir": str(tmp_path / "out")}
    (tmp_path / "run.json").write_text(json.dumps(settings))
    return str(tmp_path / "run.json")


def test_validate_says_yes_and_writes_nothing(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", config]) == 0
    assert "valid" in capsys.readouterr().out
    assert not (Path(config).parent / "out").exists()


def test_validate_says_what_is_wrong(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", config, "learning_rate=fast"]) == 1
    assert "training.learning_rate: got 'fast'" in capsys.readouterr().err


def test_recommend_completes_a_configuration(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recommend", config]) == 0
    assert "LearningRate" in capsys.readouterr().out


def test_plan_says_what_will_run(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", config]) == 0
    assert "It fits." in capsys.readouterr().out
    assert not (Path(config).parent / "out").exists()


def test_plan_ends_with_2_where_it_does_not_fit(config: str) -> None:
    assert main(["plan", config, "ram_gib=0.0001", "gpus=0"]) == 2


def test_import_reads_a_configuration_of_another_program(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import", config, "--from", "fms"]) == 0
    assert "train_from_scratch: true" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["recommend", "plan", "import"])
def test_a_command_has_a_help_of_its_own(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert "Exit codes: 0" in capsys.readouterr().out


def test_schema_prints_a_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert "learning_rate" in json.loads(capsys.readouterr().out)["properties"]


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "COMMAND" in capsys.readouterr().out
