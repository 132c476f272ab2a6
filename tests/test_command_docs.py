"""The commands of docs/command.md and docs/recipes.md, run as they stand there."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tuning.cli import COMMANDS, main
from tuning.recipes import RECIPES

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("command.md", "recipes.md")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.DOTALL)


def commands(page: str) -> list[list[str]]:
    return [shlex.split(line) for block in blocks(page, "sh") for line in block.splitlines()]


def trains(words: list[str]) -> bool:
    return words[1].endswith(".py") or (words[1] in RECIPES.names() and "--help" not in words)


LOOKING = [words for page in PAGES for words in commands(page) if not trains(words)]
TRAINING = [words for page in PAGES for words in commands(page) if trains(words)]


@pytest.fixture
def reader(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the folder that the reader of the pages has."""
    monkeypatch.chdir(tmp_path)
    for name, target in (("models/my-base-model", tiny_model), ("examples", ROOT / "examples")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(target)
    (tmp_path / "data").mkdir()
    rows = "".join(json.dumps({"prompt": f"Say {number}: ", "completion": str(number)}) + "\n" for number in range(16))
    (tmp_path / "data" / "train.jsonl").write_text(rows)
    run = {"model_name_or_path": "models/my-base-model", "training_data_path": "data/train.jsonl", "seed": 1}
    run |= {"output_dir": "runs/first", "max_steps": 2, "logging_steps": 1}
    (tmp_path / "run.json").write_text(json.dumps(run))
    (tmp_path / "run.yaml").write_text(json.dumps(run))
    for page in PAGES:
        for block in [*blocks(page, "yaml"), *blocks(page, "python")]:
            (tmp_path / block.split()[1]).write_text(block)
    return tmp_path


def test_the_commands_that_look_do_what_the_pages_say(reader: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(LOOKING) >= 12
    for words in LOOKING:
        assert main(words[1:]) == 0, f"{words}\n{capsys.readouterr().err}"


@pytest.mark.slow
@pytest.mark.parametrize("words", TRAINING, ids=" ".join)
def test_the_commands_that_train_do_what_the_pages_say(reader: Path, words: list[str]) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tuning.cli", *words[1:]]
    done = subprocess.run(command, cwd=reader, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_page_of_the_command_names_every_command() -> None:
    page = (ROOT / "docs" / "command.md").read_text(encoding="utf-8")
    named = {
        name
        for row in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", page, re.MULTILINE)
        for name in re.findall(r"\w+", row)
    }
    assert {command.name for command in COMMANDS} <= named


def test_the_page_of_recipes_names_every_recipe_with_what_it_sets() -> None:
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\|([^|]*)\|$", page, re.MULTILINE))
    assert set(rows) == set(RECIPES.names())
    for name, told in rows.items():
        sets = dict(pair.split("=") for pair in re.findall(r"`([^`]+)`", told))
        assert sets == {key: str(value).lower() for key, value in RECIPES.load(name).overlay.items()}
