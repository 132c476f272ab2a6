"""What `tune plan` says of the rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tuning.cli import main

PAIRS = [{"prompt": f"{number}. Where is the heron?", "completion": f"Beside river {number}."} for number in range(40)]


def write(file: Path, rows: Sequence[dict[str, Any]]) -> str:
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return f"training_data_path={file}"


@pytest.fixture
def model(tiny_config_only_model: Path) -> str:
    return f"model_name_or_path={tiny_config_only_model}"


def plan(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["plan", *words, "gpus=1", "gpu_memory_gib=80"])
    printed = capsys.readouterr()
    return code, printed.out.partition("Audit of the rows\n")[2].partition("\n\n")[0], printed.err


def test_sound_rows_are_counted_and_nothing_is_found(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, audited, _ = plan(capsys, model, write(tmp_path / "rows.jsonl", PAIRS), "data.audit=fail")
    assert audited.startswith("  of all 40 rows\n  train: 40 rows, ") and audited.endswith("nothing was found")
    assert code == 0


def test_a_sample_is_told_as_one(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"prompt": f"{number}", "completion": "x y z"} for number in range(2500)]
    _, audited, _ = plan(capsys, model, write(tmp_path / "rows.jsonl", rows), "validation_fraction=0")
    assert audited.startswith("  of 2,000 sampled rows of 2,500\n")


def test_warnings_are_shown_and_fail_only_where_they_would_end_the_run(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [model, write(tmp_path / "rows.jsonl", [*PAIRS, *PAIRS[:5]]), "validation_fraction=0"]
    code, audited, _ = plan(capsys, *words)
    assert code == 0 and "warning duplicate_row: 5 (11.11%) of the train rows repeat another" in audited
    code, audited, error = plan(capsys, *words, "data.audit=fail")
    assert code == 1 and "warning duplicate_row" in audited
    assert "data.audit=fail: the audit found 1 fault in the rows\nduplicate_row: 5 " in error
    assert "row 41 (as row 1), row 42 (as row 2)" in error


def test_a_document_holds_the_audit(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", model, write(tmp_path / "rows.jsonl", [*PAIRS, PAIRS[0]]), "--format", "json"]
    assert main([*words, "validation_fraction=0"]) in (0, 3)
    audited = json.loads(capsys.readouterr().out)["audit"]
    assert (audited["num_rows"], audited["num_sampled_rows"], audited["train"]["rows"]) == (41, 41, 41)
    assert [finding["code"] for finding in audited["findings"]] == ["duplicate_row"]


def test_an_audit_that_is_off_is_told_so(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, audited, _ = plan(capsys, model, write(tmp_path / "rows.jsonl", [*PAIRS, PAIRS[0]]), "data.audit=off")
    assert audited == "  none, because of data.audit=off"


def test_more_rows_than_a_plan_reads_are_left_to_the_run(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuning.recommender.planned_audit.MOST_READ_ROWS", 39)
    _, audited, _ = plan(capsys, model, write(tmp_path / "rows.jsonl", PAIRS))
    assert audited == "  none here, because there are more than 39 rows; the run audits them"


def test_rows_that_the_run_would_refuse_are_told(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    template = "response_template=### Answer"
    words = [model, write(tmp_path / "rows.jsonl", [{"text": f"row {number}"} for number in range(9)]), template]
    code, audited, _ = plan(capsys, *words)
    assert code == 0 and audited.startswith("  none, because the run would refuse the rows: 9 of 9 rows")
    assert "row 1: response_template '### Answer' does not stand in the text" in audited


def test_without_a_tokenizer_file_there_is_no_audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    words = [f"model_name_or_path={tmp_path / 'model'}", write(tmp_path / "rows.jsonl", PAIRS)]
    assert plan(capsys, *words)[1] == "  none here, because the tokenizer has no tokenizer.json"
