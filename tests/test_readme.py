"""Each command and each snippet of the README does what it says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
TRAINING = "python -m tuning.sft_trainer run.json"
QUICK = "max_steps=2 logging_steps=1"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[str]:
    lines = (line.partition("#")[0].strip() for block in blocks("sh") for line in block.splitlines())
    return [line for line in lines if line]


@pytest.fixture
def user_folder(tiny_model: Path, tmp_path: Path) -> Path:
    """Make the folder that the README's reader has: a model, data, and the configuration from the README."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "my-base-model").symlink_to(tiny_model)
    (tmp_path / "data").mkdir()
    for name, count in (("train", 24), ("validation", 8)):
        rows = [{"prompt": f"Say {number}: ", "completion": str(number)} for number in range(count)]
        (tmp_path / "data" / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "run.json").write_text(blocks("json")[0])
    return tmp_path


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    words = command.replace("tune ", "python -m tuning.cli ", 1) if command.startswith("tune ") else command
    words = words.replace("python", sys.executable, 1)
    return subprocess.run(words, shell=True, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def test_the_readme_holds_no_command_that_is_not_tested_here() -> None:
    tested = (TRAINING, "python -m tuning.sft_trainer --help", "make quickstart", "pip install", "tune ")
    assert [command for command in commands() if not command.startswith(tested)] == []


def test_make_quickstart_trains_the_configuration_that_ships() -> None:
    planned = subprocess.run(["make", "-n", "quickstart"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "-m tuning.sft_trainer configs/quickstart.json" in planned.stdout


def test_every_extra_that_the_readme_installs_exists() -> None:
    declared = set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE))
    named = {name for found in re.findall(r"pip install '\.\[(.*?)\]'", README) for name in found.split(",")}
    assert named and named <= declared


@pytest.mark.slow
def test_the_commands_of_the_readme_run(user_folder: Path) -> None:
    for command in [line for line in commands() if line.startswith((TRAINING, "python -m tuning.sft_trainer --help"))]:
        settings = QUICK if command.startswith(TRAINING) else ""
        done = run(f"{command} {settings}", user_folder)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
    for command in [line for line in commands() if line.startswith("tune ")]:
        done = run(command, user_folder)
        assert done.returncode == 0, f"{command}\n{done.stderr}"


@pytest.mark.slow
def test_the_python_of_the_readme_runs(user_folder: Path) -> None:
    (user_folder / "snippet.py").write_text(blocks("python")[0])
    done = run("python snippet.py", user_folder)
    assert done.returncode == 0, done.stderr
    assert "runs/first/model" in done.stdout
