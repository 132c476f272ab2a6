"""Trainings in this process that a signal meets at a chosen place."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

import tuning
from tuning.checkpoints.marker import why_torn
from tuning.checkpoints.search import checkpoints
from tuning.errors import Preempted

pytestmark = pytest.mark.slow


def signal_at(event: str, step: int) -> Any:
    """Return a callback that sends this process SIGTERM once, at the first such event after so many steps."""
    from transformers import TrainerCallback

    sent: list[int] = []

    class Sender(TrainerCallback):
        pass

    def send(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step >= step and not sent:
            sent.append(state.global_step)
            os.kill(os.getpid(), signal.SIGTERM)

    setattr(Sender, event, send)
    return Sender()


def train(model: Path, folder: Path, *callbacks: Any, **settings: Any) -> Any:
    """Train six steps, of which four make an epoch."""
    rows = [{"prompt": f"Say {number}: ", "completion": str(number)} for number in range(8)]
    for name in ("rows", "held_out"):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    given = {"training_data_path": str(folder / "rows.jsonl"), "model_name_or_path": str(model), "max_steps": 6}
    given |= {"validation_data_path": str(folder / "held_out.jsonl"), "output_dir": str(folder / "out"), "bf16": False}
    given |= {"per_device_train_batch_size": 2, "logging_steps": 1, "recommend": False, "audit": "off", "use_cpu": True}
    given |= {"dataset_prepared_path": str(folder / "kept"), "learning_rate": 1e-3, "baseline": False}
    return tuning.train({**given, **settings}, additional_callbacks=callbacks)


def logged(checkpoint: Path) -> list[tuple[int, str]]:
    """Return the steps that a checkpoint has logged, and whether each was trained or evaluated."""
    history = json.loads((checkpoint / "trainer_state.json").read_text())["log_history"]
    return [(entry["step"], "eval" if "eval_loss" in entry else "train") for entry in history]


def test_a_signal_in_an_evaluation_stops_the_run_after_it(tiny_model: Path, tmp_path: Path) -> None:
    evaluation = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "best", "metric_for_best_model": "loss"}
    with pytest.raises(Preempted, match="stopped by SIGTERM after step 4, with a checkpoint"):
        train(tiny_model, tmp_path, signal_at("on_prediction_step", 4), **evaluation, learning_rate=1e-30)
    newest = checkpoints(tmp_path / "out")[-1]
    assert (newest.name, why_torn(newest), logged(newest)[-1]) == ("checkpoint-4", None, (4, "eval"))


def test_a_stop_within_an_epoch_does_nothing_that_belongs_to_its_end(tiny_model: Path, tmp_path: Path) -> None:
    each_epoch = {"eval_strategy": "epoch", "save_strategy": "epoch"}
    with pytest.raises(Preempted, match="after step 3"):
        train(tiny_model, tmp_path, signal_at("on_step_begin", 2), **each_epoch)
    (checkpoint,) = checkpoints(tmp_path / "out")
    assert logged(checkpoint) == [(1, "train"), (2, "train"), (3, "train")]


def test_a_stop_at_the_end_of_an_epoch_is_made_once_it_is_evaluated_and_goes_on_to_the_same_weights(
    tiny_model: Path, tmp_path: Path
) -> None:
    each_epoch = {"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True}
    each_epoch |= {"save_total_limit": 1}
    with pytest.raises(Preempted, match="after step 4"):
        train(tiny_model, tmp_path, signal_at("on_step_begin", 3), **each_epoch)
    assert logged(checkpoints(tmp_path / "out")[-1])[-1] == (4, "eval")
    folders = [tmp_path / "out" / "model", tmp_path / "unbroken" / "model"]
    for folder in folders:
        train(tiny_model, tmp_path, **each_epoch, output_dir=str(folder.parent))
    assert len({(folder / "model.safetensors").read_bytes() for folder in folders}) == 1
    assert (tmp_path / "out" / ".complete").is_file()


def test_a_signal_in_the_last_step_leaves_a_checkpoint_from_which_nothing_is_left_to_train(
    tiny_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    with pytest.raises(Preempted, match=r"during the evaluation; the model is saved in .* the same command goes on"):
        train(tiny_model, tmp_path, signal_at("on_step_begin", 5), save_strategy="no")
    assert not (tmp_path / "out" / ".complete").exists()
    manifest = tmp_path / "out" / "manifest.json"
    assert json.loads(manifest.read_text())["state"] == "preempted"
    assert train(tiny_model, tmp_path, save_strategy="no").global_step == 6
    assert "nothing is left to train" in caplog.text and (tmp_path / "out" / ".complete").is_file()


def test_a_run_that_was_stopped_before_its_first_step_goes_on_as_the_same_run(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(Preempted, match="before the first step"):
        train(tiny_model, tmp_path, signal_at("on_train_begin", 0))
    train(tiny_model, tmp_path)
    lines = (tmp_path / "out" / "tracking" / "events.jsonl").read_text().splitlines()
    records = list(map(json.loads, lines))
    assert len({record["run_id"] for record in records if record["type"] == "run"}) == 1
    assert [record["state"] for record in records if record["type"] == "state"] == ["preempted", "finished"]
