from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tuning.cli import COMMANDS, main
from tuning.completion import SCRIPTS, candidates
from tuning.recipes import RECIPES


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("tune val", ["validate"]),
        ("tune lora", ["lora_finetune"]),
        ("tune lora_finetune --conf", ["--config"]),
        ("tune lora_finetune --np", ["--nproc"]),
        ("tune lora_finetune --m", ["--master_addr", "--master_port", "--max_restarts"]),
        ("tune run learning_r", ["learning_rate="]),
        ("tune run training.learning_r", ["training.learning_rate="]),
        ("tune run --override see", ["seed="]),
        ("tune run peft_method=l", ["peft_method=lora"]),
        ("tune run packing=", ["packing=false", "packing=true"]),
        ("tune run --config quickst", ["quickstart"]),
        ("tune cat quickst", ["quickstart"]),
        ("tune ls prompt", ["prompt_tuning"]),
        ("tune completion z", ["zsh"]),
        ("tune sync ru", []),
        ("tune run run.y", []),
    ],
)
def test_a_line_is_completed(line: str, expected: list[str]) -> None:
    assert candidates(line) == expected


def test_the_first_word_is_a_command_or_a_recipe() -> None:
    assert candidates("tune ") == sorted([*(command.name for command in COMMANDS), *RECIPES.names()])


@pytest.mark.parametrize("shell", SCRIPTS)
def test_a_shell_takes_its_script(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    checked = subprocess.run([shell, "-n", str(tmp_path / "script")], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_an_unknown_shell_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bsh"]) == 1
    assert "Did you mean 'bash'" in capsys.readouterr().err


BASH = """
source {script}
COMP_LINE={line!r} COMP_POINT={point} COMP_WORDS=({words}) COMP_CWORD={last}
_tune
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.parametrize(
    ("line", "words", "expected"),
    [
        ("tune lora", "tune lora", ["lora_finetune"]),
        ("tune run learning_r", "tune run learning_r", ["learning_rate="]),
        ("tune run peft_method=al", "tune run peft_method = al", ["alora"]),
    ],
)
def test_bash_completes_words(tmp_path: Path, line: str, words: str, expected: list[str]) -> None:
    command = tmp_path / "tune"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m tuning.cli "$@"\n')
    command.chmod(0o755)
    (tmp_path / "script").write_text(SCRIPTS["bash"])
    code = BASH.format(script=tmp_path / "script", line=line, point=len(line), words=words, last=len(words.split()) - 1)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    done = subprocess.run(["bash", "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == expected, done.stderr
