from __future__ import annotations

from pathlib import Path

from tuning.trackers.tracker import Tracker


def test_the_base_tracker_does_nothing_and_takes_everything(tmp_path: Path) -> None:
    tracker = Tracker()
    tracker.track(1.0, "loss", "train")
    tracker.track({"loss": 1.0})
    tracker.set_params({"a": 1}, "config")
    tracker.log_artifact(tmp_path)
    tracker.finish("failed", error=ValueError("x"))
    assert tracker.get_hf_callback() is None and list(tmp_path.iterdir()) == []
