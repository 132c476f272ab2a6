"""The audit in a whole run: what it refuses, what it records, and what a later run takes up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tuning.sft_trainer import main

pytestmark = pytest.mark.slow

ROWS = [{"prompt": f"{number}. Where is the heron?", "completion": f"Beside river {number}."} for number in range(20)]


@pytest.fixture
def words(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a command line for rows of which three repeat others; a cache of its own holds their tokens."""
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in [*ROWS, *ROWS[:3]]), encoding="utf-8")
    return [
        f"model_name_or_path={tiny_model}",
        f"training_data_path={file}",
        f"output_dir={tmp_path / 'run'}",
        f"dataset_prepared_path={tmp_path / 'prepared'}",
        "validation_fraction=0",
        "max_steps=1",
        "dtype=float32",
    ]


def test_fail_ends_the_run_before_anything_is_written(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "data.audit=fail"]) == 1
    printed = capsys.readouterr()
    assert "duplicate_row: 3 (13.04%) of the train rows repeat another" in printed.err
    assert "row 21 (as row 1), row 22 (as row 2), row 23 (as row 3)" in printed.err
    assert "Traceback" not in printed.err and not (tmp_path / "run").exists()


def test_warn_records_what_it_finds_and_a_later_run_finds_the_same(words: list[str], tmp_path: Path) -> None:
    assert main(words) == 0
    audited = json.loads((tmp_path / "run" / "audit.json").read_text(encoding="utf-8"))
    assert [finding["code"] for finding in audited["findings"]] == ["duplicate_row"]
    events = (tmp_path / "run" / "tracking" / "events.jsonl").read_text(encoding="utf-8").splitlines()
    recorded = [event for event in map(json.loads, events) if event.get("name") == "audit"]
    assert [event["values"]["findings"][0]["count"] for event in recorded] == [3]
    assert main([*words, f"output_dir={tmp_path / 'again'}"]) == 0
    assert json.loads((tmp_path / "again" / "audit.json").read_text(encoding="utf-8")) == audited


def test_off_looks_at_nothing(words: list[str], tmp_path: Path) -> None:
    assert main([*words, "data.audit=off"]) == 0
    assert not (tmp_path / "run" / "audit.json").exists()
