"""Runs in this process on a disk that takes no more: files cannot grow beyond a size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_files import files_of_at_most

from tuning import train
from tuning.checkpoints.marker import why_torn
from tuning.checkpoints.search import UNFINISHED, checkpoints
from tuning.ending import ended
from tuning.errors import EXIT_INTERNAL_ERROR

pytestmark = pytest.mark.slow


def end_of_a_run(model: Path, folder: Path, size: int, num_rows: int = 8, **settings: Any) -> int:
    """Train two steps where no file can be larger; returns the exit code."""
    rows = ({"prompt": f"Say {number}: ", "completion": f"{number}" * 20} for number in range(num_rows))
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    given = {"training_data_path": str(folder / "rows.jsonl"), "model_name_or_path": str(model), "max_steps": 2}
    given |= {"output_dir": str(folder / "out"), "dataset_prepared_path": str(folder / "kept"), "bf16": False}
    given |= {"per_device_train_batch_size": 1, "recommend": False, "audit": "off", "use_cpu": True}
    with files_of_at_most(size):
        return ended(lambda: train({**given, **settings}))


def test_while_rows_are_tokenized_it_ends_the_run_and_leaves_nothing(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERMINATION_LOG_FILE", str(tmp_path / "log"))
    assert end_of_a_run(tiny_model, tmp_path, 100_000, num_rows=2_000) == EXIT_INTERNAL_ERROR
    told = capsys.readouterr().err
    assert f"the tokenized rows cannot be written to {tmp_path / 'kept'}: File too large" in told
    assert "Traceback" not in told and (tmp_path / "log").read_text().startswith("the tokenized rows cannot")
    assert not (tmp_path / "out").exists() and [path.name for path in (tmp_path / "kept").iterdir()] == ["locks"]


def test_while_a_checkpoint_is_saved_it_leaves_the_one_before(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert end_of_a_run(tiny_model, tmp_path, 10_000_000, save_strategy="steps", save_steps=1) == 0
    assert end_of_a_run(tiny_model, tmp_path, 500_000, save_strategy="steps", save_steps=1, max_steps=4) == 203
    told = capsys.readouterr().err
    assert f"the checkpoint of step 3 cannot be written to {out}: " in told and "Traceback" not in told
    assert [(path.name, why_torn(path)) for path in checkpoints(out)][-1] == ("checkpoint-2", None)
    assert not any((out / UNFINISHED).glob("*"))
    assert end_of_a_run(tiny_model, tmp_path, 10_000_000, save_strategy="steps", save_steps=1, max_steps=4) == 0


def test_while_the_model_is_saved_it_leaves_no_half_of_it(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_of_a_run(tiny_model, tmp_path, 200_000, save_strategy="no") == EXIT_INTERNAL_ERROR
    told = capsys.readouterr().err
    assert f"the model cannot be written to {tmp_path / 'out' / 'model'}: " in told and "Traceback" not in told
    assert list((tmp_path / "out" / "model").iterdir()) == []
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["state"] == "failed"
