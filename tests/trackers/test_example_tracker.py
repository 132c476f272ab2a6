"""The tracker of `examples/tracker`, installed as a user installs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from stored import read_sqlite

from tuning.trackers.replay import read_series

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_a_training_is_tracked_by_it(sqlite_tracker_package: Path, tiny_model: Path, tmp_path: Path) -> None:
    rows = (json.dumps({"prompt": f"Say {number}: ", "completion": str(number)}) for number in range(40))
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    settings = {
        "model_name_or_path": str(tiny_model),
        "training_data_path": "rows.jsonl",
        "output_dir": "out",
        "max_steps": 3,
        "logging_steps": 1,
        "trackers": ["sqlite"],
        "tracker_options": {"sqlite": {"path": str(tmp_path / "all.db")}},
        "finish_timeout": 60,
    }
    (tmp_path / "run.json").write_text(json.dumps(settings))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(sqlite_tracker_package)])}
    command = [sys.executable, "-m", "tuning.sft_trainer", "run.json"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "sqlite3" in done.stdout, done.stderr
    stored, events = read_sqlite(tmp_path / "all.db"), tmp_path / "out" / "tracking" / "events.jsonl"
    assert stored.state == "finished" and len(stored.series["train/loss"]) == 3
    assert {name: sorted(points) for name, points in read_series(events).items()} == stored.series


def test_the_class_is_about_fifty_lines() -> None:
    lines = (ROOT / "examples" / "tracker" / "sqlite_tracker.py").read_text().splitlines()
    code = [line for line in lines if line.strip() and not line.strip().startswith(('"""', "from", "import"))]
    assert len(code) <= 50
