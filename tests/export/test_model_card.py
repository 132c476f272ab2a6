from __future__ import annotations

import json
from pathlib import Path

import pytest

from tuning.export.comparison import Comparison
from tuning.export.model_card import CARD_FILE, write_model_card
from tuning.export.source import find_source


@pytest.fixture
def run(tiny_config_only_model: Path, tmp_path: Path) -> Path:
    """Make the folder of a run that trained the whole of a base with a license."""
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    for name in ("model", "checkpoint-2"):
        (tmp_path / "first" / name).mkdir(parents=True)
        config = (tiny_config_only_model / "config.json").read_text()
        (tmp_path / "first" / name / "config.json").write_text(config)
    values = {"model": {"model_name_or_path": str(tmp_path / "base")}}
    (tmp_path / "first" / "manifest.json").write_text(json.dumps({"config": {"values": values}}))
    (tmp_path / "first" / "eval.json").write_text('{"eval_loss": 1.25}')
    return tmp_path / "first"


def card_of(model: Path, folder: Path) -> str:
    comparison = Comparison(0.0, 1.0, 1.0, 1.0, True, 16, 100, "random tokens")
    write_model_card(find_source(str(model)), folder, "torch", "float32", comparison)
    return (folder / CARD_FILE).read_text()


def test_a_whole_model_names_the_base_that_its_training_began_with(run: Path, tmp_path: Path) -> None:
    card = card_of(run, tmp_path)
    assert 'base_model: "base"\n' in card
    assert "License of the base: apache-2.0." in card


def test_a_checkpoint_has_not_the_scores_of_the_run(run: Path, tmp_path: Path) -> None:
    assert "| `eval_loss` | 1.25 |" in card_of(run, tmp_path)
    card = card_of(run / "checkpoint-2", tmp_path)
    assert "eval_loss" not in card
    assert "# first-checkpoint-2\n" in card


def test_scores_are_read_from_a_table_too(run: Path, tmp_path: Path) -> None:
    (run / "eval.json").unlink()
    (run / "eval.csv").write_text("metric,score,baseline,difference\neval_loss,1.5,2.0,-0.5\n")
    assert "| `eval_loss` | 1.5 |" in card_of(run, tmp_path)


def test_only_what_was_taken_of_the_recommendations_is_told(run: Path, tmp_path: Path) -> None:
    taken = {"comment": "Rank 16 suits this.", "patch": {"peft": {"r": 16}}}
    declined = {"comment": "100 rows are held out.", "patch": {}}
    (run / "recommendations.json").write_text(json.dumps([taken, declined]))
    card = card_of(run, tmp_path)
    assert "- Rank 16 suits this.\n" in card
    assert "held out." not in card


def test_the_files_of_rows_are_named_without_their_folders(run: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("")
    manifest = json.loads((run / "manifest.json").read_text())
    data = {"training": {"path": str(tmp_path / "rows.jsonl"), "rows": 900, "sha256": "abc"}}
    (run / "manifest.json").write_text(json.dumps({**manifest, "data": data}))
    assert "Rows for training: from `rows.jsonl` (900 rows, SHA-256 `abc`).\n" in card_of(run, tmp_path)
