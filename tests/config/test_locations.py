from __future__ import annotations

import os
from pathlib import Path

import pytest

from tuning.config.building import build_config
from tuning.config.loading import load_ir
from tuning.config.locations import json_keys, located, yaml_keys
from tuning.errors import ConfigError, Problem

JSON = """{
  "training": {"seed": -1,
    "learning_rat": 1},
  "max_seq_length": 0, "note: {": 1,
  "metadata": [{"a": 1}, {"a \\" b": [2, {"c": 3}]}]
}
"""
YAML = """# a comment
training:
  seed: -1
  learning_rat: 1
max_seq_length: 0
num_train_epochs: many  # words
"""


def told(file: Path) -> str:
    loaded = load_ir([str(file)], environ={})
    with pytest.raises(ConfigError) as caught:
        build_config(loaded.ir, (), loaded.problems)
    return str(caught.value)


def test_every_problem_of_a_yaml_file_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(YAML)
    text = told(file)
    for path, line in (("learning_rat", 4), ("seed", 3), ("max_length", 5), ("num_train_epochs", 6)):
        assert any(path in each and f"(from file {file}, line {line})" in each for each in text.splitlines()), text


def test_every_problem_of_a_json_file_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text(JSON)
    text = told(file)
    for path, line in (("training.learning_rat", 3), ("training.seed", 2), ("training.max_length", 4), ("note", 4)):
        assert any(each.startswith(path) and f", line {line})" in each for each in text.splitlines()), text


def test_keys_of_json_are_found_with_their_lines() -> None:
    keys = dict(json_keys(JSON))
    assert keys["training.learning_rat"] == 3
    assert keys["metadata.0.a"] == keys['metadata.1.a " b'] == keys['metadata.1.a " b.1.c'] == 5


def test_keys_of_yaml_are_found_with_their_lines() -> None:
    assert dict(yaml_keys("a:\n  - b: 1\n  - c: 2\n")) == {"a": 1, "a.0.b": 2, "a.1.c": 3}


@pytest.mark.parametrize("text", ["", "{", '{"a', '{"a": [1, 2}', "]]]", '"\\', "{" * 50_000])
def test_keys_of_a_torn_file_are_looked_for_without_an_error(text: str) -> None:
    assert isinstance(json_keys(text), list) and isinstance(yaml_keys(text), list)


def test_a_value_of_the_command_line_has_no_line(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("seed: 1\n")
    loaded = load_ir([str(tmp_path / "run.yaml"), "lerning_rate=1"], environ={})
    assert "(from command line)" in str(loaded.problems[0])


def test_a_number_that_is_not_finite_is_told_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"seed": 1,\n "learning_rate": NaN}')
    assert "line 2" in str(load_ir([str(tmp_path / "run.json")], environ={}).problems[0])


def test_a_run_s_own_configuration_has_its_lines_too(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"values": {\n"training": {\n"seed": -1}},\n"sources": {}}')
    assert f"file {file}, line 3" in told(file)


def test_a_file_that_is_gone_or_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    problems = [Problem("seed", "expected", 1, f"file {tmp_path / name}") for name in ("pipe", "gone.json")]
    assert located(problems) == problems
