from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from tuning.job import load_config
from tuning.launch.decided import Decided, read_decided, write_decided


@pytest.fixture
def decided(tiny_config_only_model: Path, tmp_path: Path) -> Decided:
    rows = tmp_path / "rows.jsonl"
    rows.write_text("\n".join(json.dumps({"prompt": f"Say {n}: ", "completion": str(n)}) for n in range(32)))
    values: dict[str, Any] = {"model_name_or_path": str(tiny_config_only_model), "train_from_scratch": True}
    values |= {"training_data_path": str(rows), "output_dir": str(tmp_path / "run"), "learning_rate": 1e-4}
    return Decided("full_finetune", ["tune", "full_finetune"], load_config(values))


def test_processes_read_what_was_decided_and_why(decided: Decided, tmp_path: Path) -> None:
    write_decided(decided, tmp_path / "run.json")
    assert read_decided(tmp_path / "run.json") == decided
    assert len(decided.job.recommendations) > 5


def test_what_processes_read_is_their_owner_s_alone(decided: Decided, tmp_path: Path) -> None:
    write_decided(decided, tmp_path / "run.json")
    assert (tmp_path / "run.json").stat().st_mode & 0o077 == 0


def test_a_restart_goes_on_from_a_checkpoint_and_changes_nothing_else(decided: Decided) -> None:
    job = decided.going_on_from("runs/first/checkpoint-3").job
    assert job.config.training.resume_from_checkpoint == "runs/first/checkpoint-3"
    assert job.config.model == decided.job.config.model
    assert job.recommendations == decided.job.recommendations


def test_processes_read_keys_with_dots_as_they_were_given(decided: Decided, tmp_path: Path) -> None:
    document = decided.job.document.merge({"metadata": {"team.name": "a", "team": {"size": 3}}}, "argument")
    job = dataclasses.replace(decided.job, document=document)
    write_decided(dataclasses.replace(decided, job=job), tmp_path / "run.json")
    assert read_decided(tmp_path / "run.json").job.config.metadata == {"team.name": "a", "team": {"size": 3}}


def test_processes_read_whether_the_run_has_begun_before(decided: Decided, tmp_path: Path) -> None:
    write_decided(decided.as_begun(), tmp_path / "run.json")
    assert read_decided(tmp_path / "run.json").job == dataclasses.replace(decided.job, goes_on=True)
