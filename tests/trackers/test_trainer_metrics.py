from __future__ import annotations

import time

import pytest

from tuning.trackers.trainer_metrics import Speed, metric_names


def test_metrics_are_named_after_their_stage() -> None:
    assert metric_names({"loss": 1, "learning_rate": 2, "epoch": 0.5}) == {
        "train/loss": 1,
        "train/learning_rate": 2,
        "train/epoch": 0.5,
    }
    assert metric_names({"eval_loss": 1, "eval_math_loss": 2, "epoch": 0.5}) == {"eval/loss": 1, "eval/math_loss": 2}


def test_the_closing_entry_has_names_of_its_own() -> None:
    logs = {"train_runtime": 9, "train_loss": 1, "total_flos": 3, "epoch": 1.0}
    assert metric_names(logs) == {"summary/runtime": 9, "summary/loss": 1, "summary/total_flos": 3}


def test_speed_leaves_out_what_happens_between_steps() -> None:
    speed = Speed()
    speed.start(samples_per_step=4)
    speed.step()
    time.sleep(0.2)
    speed.pause()
    speed.step()
    assert speed.lap()["train/step_seconds"] < 0.05


def test_speed_is_that_of_the_last_lap() -> None:
    speed = Speed()
    speed.start(samples_per_step=4)
    speed.lap(num_tokens=0)
    time.sleep(0.05)
    speed.step()
    lap = speed.lap(num_tokens=100)
    assert lap["train/samples_per_second"] == pytest.approx(4 / lap["train/step_seconds"])


def test_tokens_per_second_needs_two_laps() -> None:
    speed = Speed()
    speed.start(samples_per_step=4)
    speed.step()
    assert "train/tokens_per_second" not in speed.lap(num_tokens=50)
    speed.step()
    lap = speed.lap(num_tokens=150)
    assert lap["train/tokens_per_second"] == pytest.approx(100 / lap["train/step_seconds"])
