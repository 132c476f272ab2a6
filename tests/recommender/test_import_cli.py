from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tuning.config.building import build_config
from tuning.config.loading import load_ir
from tuning.recommender.import_cli import main

FMS = """
model_name_or_path: some/model
training_data_path: rows.jsonl
output_dir: out
tuning_strategy: lora
max_seq_length: 512
fast_moe: 2
additional_data_handlers: handlers.py
"""


@pytest.fixture
def peer(tmp_path: Path) -> Path:
    (tmp_path / "peer.yaml").write_text(FMS)
    return tmp_path / "peer.yaml"


def test_a_peers_configuration_becomes_yaml_of_ours(peer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(peer)]) == 0
    told = capsys.readouterr().out
    assert yaml.safe_load(told)["training"]["max_length"] == 512
    assert "read as a configuration of fms" in told


def test_what_is_lost_is_told_with_the_reason(peer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(peer), "--from", "fms"])
    assert "# Not mapped:\n# - additional_data_handlers: handlers are" in capsys.readouterr().out


def test_the_written_file_is_a_configuration_that_the_trainer_takes(
    peer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = tmp_path / "ours" / "run.yaml"
    assert main([str(peer), "--output", str(written)]) == 0
    assert build_config(load_ir([str(written)]).ir).peft.peft_method == "lora"
    assert f"Written: {written}" in capsys.readouterr().out


def test_a_file_that_is_there_is_not_written_over(
    peer: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.yaml").write_text("mine: true\n")
    assert main([str(peer), "--output", str(tmp_path / "run.yaml")]) == 1
    assert (tmp_path / "run.yaml").read_text() == "mine: true\n"
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "argv", "message"),
    [
        ("{}", ["--from", "trll"], "unknown adapter 'trll'. Did you mean 'trl'?"),
        ('{"kettles": 3}', [], "no program is known that has these keys"),
        ("[1, 2]", [], "expected an object"),
        ("{", [], "cannot be read"),
        ("{}", ["--form", "fms"], "--form: there is no such flag"),
        ("{}", ["other.json"], "expected one file, got 2"),
        ('{"learning_rate": "fast"}', ["--from", "fms"], "got 'fast'"),
    ],
)
def test_what_the_user_can_mend_ends_with_1(
    text: str, argv: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "peer.json").write_text(text)
    assert main([str(tmp_path / "peer.json"), *argv]) == 1
    told = capsys.readouterr().err
    assert message in told and "Traceback" not in told


def test_a_configuration_of_ours_stays_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = {"model": {"model_name_or_path": "m"}, "training": {"output_dir": "o", "learning_rate": 0.001}}
    (tmp_path / "ours.json").write_text(json.dumps(document))
    assert main([str(tmp_path / "ours.json")]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == document


def test_help_names_the_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "fms, llamafactory" in capsys.readouterr().out
