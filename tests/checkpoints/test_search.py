from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made_checkpoints import made, run_config

from tuning.checkpoints.search import UNFINISHED, find_checkpoint, is_finished, torn_checkpoints
from tuning.errors import UserError


def tear(checkpoint: Path) -> Path:
    (checkpoint / "trainer_state.json").write_text('{"global')
    return checkpoint


def test_the_newest_whole_checkpoint_is_found_by_its_number(tmp_path: Path) -> None:
    for step in (9, 10):
        newest = made(tmp_path, step)
    tear(made(tmp_path, 11))
    assert find_checkpoint(run_config(tmp_path)) == str(newest)


def test_a_torn_checkpoint_is_passed_over_with_the_reason(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole, torn = made(tmp_path, 1), made(tmp_path, 2, marked=False)
    (torn / "model.safetensors").write_bytes((900).to_bytes(8, "little") + b"{}")
    assert find_checkpoint(run_config(tmp_path)) == str(whole)
    assert f"{torn} is not complete (model.safetensors is cut short); it is passed over" in caplog.text
    assert torn.is_dir()


def test_a_checkpoint_that_was_still_being_saved_is_passed_over(tmp_path: Path) -> None:
    draft = made(tmp_path / UNFINISHED, 6)
    whole = made(tmp_path, 3)
    assert find_checkpoint(run_config(tmp_path)) == str(whole)
    assert dict(torn_checkpoints(tmp_path)) == {draft: "it was still being saved"}


def test_a_checkpoint_of_another_method_is_refused(tmp_path: Path) -> None:
    made(tmp_path, 1)
    with pytest.raises(UserError, match="holds all weights"):
        find_checkpoint(run_config(tmp_path, peft_method="lora"))


def test_one_of_adapters_is_refused_where_all_weights_are_trained(tmp_path: Path) -> None:
    made(tmp_path, 1, weights="adapter_model.safetensors")
    with pytest.raises(UserError, match="holds adapters"):
        find_checkpoint(run_config(tmp_path))


def test_without_a_checkpoint_or_when_told_so_a_run_starts_anew(tmp_path: Path) -> None:
    assert find_checkpoint(run_config(tmp_path)) is None
    made(tmp_path, 1)
    assert find_checkpoint(run_config(tmp_path, resume_from_checkpoint=False)) is None


@pytest.mark.parametrize("asked", [True, "nowhere"])
def test_a_checkpoint_that_was_asked_for_has_to_be_there(tmp_path: Path, asked: Any) -> None:
    with pytest.raises(UserError, match="complete checkpoint"):
        find_checkpoint(run_config(tmp_path, resume_from_checkpoint=asked))


def test_a_torn_checkpoint_that_was_asked_for_is_refused_with_the_reason(tmp_path: Path) -> None:
    torn = tear(made(tmp_path, 1))
    with pytest.raises(UserError, match=r"not a complete checkpoint: trainer_state.json has 8 of its \d+ bytes"):
        find_checkpoint(run_config(tmp_path, resume_from_checkpoint=str(torn)))


def test_a_checkpoint_of_weights_alone_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint = made(tmp_path, 1, marked=False)
    (checkpoint / "optimizer.pt").unlink()
    assert find_checkpoint(run_config(tmp_path)) == str(checkpoint)
    assert "holds weights alone (save_only_model)" in caplog.text


@pytest.mark.parametrize(
    ("max_steps", "epochs", "finished"), [(3, 9, True), (4, 9, False), (0, 2, True), (-1, 3, False)]
)
def test_the_last_step_is_known_by_its_number_or_its_epoch(
    tmp_path: Path, max_steps: int, epochs: float, finished: bool
) -> None:
    (tmp_path / "trainer_state.json").write_text(json.dumps({"global_step": 3, "epoch": 2.0}))
    assert is_finished(str(tmp_path), max_steps, epochs) is finished
