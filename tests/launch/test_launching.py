from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tuning.job import load_config
from tuning.launch.decided import Decided, read_decided
from tuning.launch.launching import command_of, newest_checkpoint, started_again


@pytest.fixture
def run(tiny_config_only_model: Path, tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"text": f"{n} is said."}) for n in range(8)))
    values = {"model_name_or_path": str(tiny_config_only_model), "train_from_scratch": True, "recommend": False}
    return {**values, "training_data_path": str(tmp_path / "rows.jsonl"), "output_dir": str(tmp_path / "run")}


def save_checkpoint(run: dict[str, Any], step: int) -> str:
    """Write what makes a folder look like a whole checkpoint of all weights."""
    folder = Path(run["output_dir"]) / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return str(folder)


def resumed_from(run: dict[str, Any], before: Any, **asked: Any) -> Any:
    decided = Decided("full_finetune", [], load_config({**run, **asked}))
    return started_again(decided, before).job.config.training.resume_from_checkpoint


def newest(run: dict[str, Any]) -> Any:
    return newest_checkpoint(Decided("full_finetune", [], load_config(run)))


@pytest.mark.parametrize("asked", [{}, {"resume_from_checkpoint": False}, {"resume_from_checkpoint": "elsewhere"}])
def test_a_restart_goes_on_from_what_the_run_itself_has_saved(run: dict[str, Any], asked: dict[str, Any]) -> None:
    before, saved = newest(run), save_checkpoint(run, 3)
    assert before is None
    assert resumed_from(run, before, **asked) == (saved if asked else None)


def test_a_restart_takes_up_nothing_that_was_there_before_the_run(run: dict[str, Any]) -> None:
    save_checkpoint(run, 3)
    assert resumed_from(run, newest(run), resume_from_checkpoint=False) is False


def test_a_restart_without_a_checkpoint_stays_the_run_that_it_was(run: dict[str, Any]) -> None:
    assert resumed_from(run, None, resume_from_checkpoint=False) is None
    assert resumed_from(run, None, resume_from_checkpoint="elsewhere") == "elsewhere"


@pytest.mark.parametrize("was_there", [False, True])
def test_a_restart_is_the_same_run_where_the_run_has_begun(
    run: dict[str, Any], tmp_path: Path, was_there: bool
) -> None:
    manifest = Path(run["output_dir"]) / "manifest.json"
    manifest.parent.mkdir()
    if was_there:
        manifest.write_text("of an earlier run")
    command = command_of(Decided("full_finetune", [], load_config(run)), [], tmp_path)
    goes_on = []
    for attempt in range(3):
        command(attempt, tmp_path)
        goes_on.append(read_decided(tmp_path / "run.json").job.goes_on)
        if attempt == 1:
            manifest.write_text("of this run")
            os.utime(manifest, ns=(1, 1))
    assert goes_on == [False, False, True]
