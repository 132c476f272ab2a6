from __future__ import annotations

import json
from pathlib import Path

import pytest

from tuning.cli import main


def test_preprocessing_says_where_the_tokens_are_and_a_second_time_takes_them_up(
    tiny_config_only_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"prompt": f"{number} +", "completion": "1"} for number in range(10)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    words = [f"model_name_or_path={tiny_config_only_model}", f"training_data_path={tmp_path / 'rows.jsonl'}"]
    words += [f"dataset_prepared_path={tmp_path / 'kept'}", "validation_fraction=0.2"]
    assert main(["preprocess", *words, "recommend=false", "train_from_scratch=true"]) == 0
    first = capsys.readouterr().out
    assert "tokenized: 8 rows to train on, 2 held out, 0 skipped" in first and "tokens:    40" in first
    assert Path(first.split()[-1]).is_relative_to(tmp_path / "kept")
    assert main(["preprocess", *words, "recommend=false", "train_from_scratch=true"]) == 0
    assert "taken up: 8 rows to train on" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "rows.jsonl"]


def test_preprocessing_refuses_to_keep_rows_that_are_streamed(
    tiny_config_only_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}')
    words = [f"model_name_or_path={tiny_config_only_model}", f"training_data_path={tmp_path / 'rows.jsonl'}"]
    words += [
        f"output_dir={tmp_path / 'out'}",
        "streaming=true",
        "max_steps=1",
        "recommend=false",
        "train_from_scratch=true",
    ]
    assert main(["preprocess", *words]) == 1
    assert "data.streaming" in capsys.readouterr().err


def test_the_help_names_what_it_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preprocess", "--help"]) == 0
    assert "usage: tune preprocess" in capsys.readouterr().out
