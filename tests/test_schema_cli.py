from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tuning.cli import main


def test_schema_prints_a_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert "learning_rate" in json.loads(capsys.readouterr().out)["properties"]


def test_schema_writes_a_file_and_tells_the_line_for_editors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schema", "--output", str(tmp_path / "schema.json")]) == 0
    line = capsys.readouterr().out
    assert line == f"# yaml-language-server: $schema={tmp_path / 'schema.json'}\n"
    assert yaml.safe_load(f"{line}seed: 1\n") == {"seed": 1}
    assert "learning_rate" in json.loads((tmp_path / "schema.json").read_text())["properties"]


@pytest.mark.parametrize(
    ("words", "told"), [(["run.yaml"], "takes no 'run.yaml'"), (["--output", "nowhere/s.json"], "cannot be written")]
)
def test_what_schema_cannot_do_is_told(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", *words]) == 1
    assert told in capsys.readouterr().err
