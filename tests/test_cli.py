from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tuning import __version__
from tuning.cli import COMMANDS, Command, main

HELP = Path(__file__).resolve().parent / "help"


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


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "COMMAND" in capsys.readouterr().out


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"tuning {__version__}\n"


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("word", ["--help", "ls"])
def test_a_reader_that_has_had_enough_is_no_error(word: str, unbuffered: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(HELP.parent.parent), "PYTHONUNBUFFERED": unbuffered}
    reads, writes = os.pipe()
    os.close(reads)
    command = [sys.executable, "-m", "tuning.cli", word]
    done = subprocess.run(command, stdout=writes, stderr=subprocess.PIPE, env=environment, text=True)
    os.close(writes)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_help_fits_a_screen_and_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert all(any(f"  {command.name} " in line for line in lines) for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_help_of_a_command_ends_with_an_example(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command.name, "--help"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("usage: ")
    assert told.endswith(f"\nexample:\n  {command.example}\n")
    assert command.name in command.example.split()


@pytest.mark.parametrize("name", ["", "ls", "cat", "cp", "validate", "schema", "completion", "prompt_tuning"])
def test_help_reads_as_it_was_looked_at(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Compare with tests/help; UPDATE_HELP=1 writes those files anew, to be looked at."""
    assert main([*([name] if name else []), "--help"]) == 0
    file, told = HELP / f"{name or 'tune'}.txt", capsys.readouterr().out
    if os.environ.get("UPDATE_HELP"):
        file.write_text(told, encoding="utf-8")
    assert told == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("words", [["--help"], ["ls"], ["validate", "run.json"], ["cat", "quickstart"]])
def test_a_command_that_only_looks_imports_nothing_dear(config: str, words: list[str]) -> None:
    code = "import sys; from tuning.cli import main; main(sys.argv[1:]);"
    code += "print(sorted({'torch', 'transformers', 'trl', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    command = [sys.executable, "-c", code, *words]
    environment = {**os.environ, "PYTHONPATH": str(HELP.parent.parent)}
    done = subprocess.run(command, cwd=Path(config).parent, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr.strip().rpartition("\n")[2]) == (0, "[]"), done.stderr


def test_a_fault_of_ours_ends_a_command_with_203_and_a_traceback_in_the_log(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "faulty_command.py").write_text("def main(words):\n    return [][0]\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("tuning.cli.COMMANDS", (*COMMANDS, Command("faulty", "faulty_command:main", "", "")))
    assert main(["faulty"]) == 203
    assert capsys.readouterr().err.splitlines()[-1] == "IndexError: list index out of range"
    assert [record.exc_info is not None for record in caplog.records if record.message == "internal fault"] == [True]
