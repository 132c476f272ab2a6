from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_tables import token_table

from tuning.data.audit import Audit, SplitCounts
from tuning.data.audit_report import AUDIT_FILE, audit_params, audit_prepared, refuse_warnings, tell_audit, write_audit
from tuning.data.encoding import Encoding
from tuning.data.finding import Finding
from tuning.data.lengths import Lengths
from tuning.data.prepared import Prepared
from tuning.data.rows import Rows
from tuning.data.sources import Row
from tuning.data.templates import CHATML

COUNTS = SplitCounts(12, 12, 120, 60, 0.5, Lengths(10.0, 10, 11, 12, 12), Lengths(5.0, 5, 6, 6, 6))
PLACES = tuple(f"rows.jsonl row {number}" for number in range(1, 13))
MASKED = Finding("no_supervised_token", "warning", "train", 12, 1.0, "have no supervised token", "Look.", PLACES)
SHORT = Finding("short_answer", "remark", "train", 1, 0.08, "have an answer of one token", "Look.", PLACES[:1])
BOTH = Audit(COUNTS, None, (MASKED, SHORT))


def test_fail_refuses_warnings_with_the_first_ten_rows() -> None:
    with pytest.raises(ValueError, match="the audit found 1 fault in the rows") as refused:
        refuse_warnings(BOTH, "fail")
    assert "Rows: rows.jsonl row 1, row 2, row 3" in str(refused.value)
    assert "row 10, and 2 more\n" in str(refused.value) and "short_answer" not in str(refused.value)


def test_remarks_fail_nothing_and_warn_refuses_nothing() -> None:
    refuse_warnings(Audit(COUNTS, None, (SHORT,)), "fail")
    refuse_warnings(BOTH, "warn")


def test_each_finding_is_logged_once_by_its_level(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        tell_audit(BOTH, "warn")
    told = [(record.levelname, record.getMessage().split(":")[1].strip()) for record in caplog.records]
    assert told == [
        ("INFO", "12 rows, 120 tokens, 60 (50.0%) supervised; length 10.0 on average, 12 at p99, 12 at most"),
        ("WARNING", "no_supervised_token"),
        ("INFO", "short_answer"),
    ]


def test_the_file_names_every_row_and_the_trackers_get_ten(tmp_path: Path) -> None:
    file = write_audit(BOTH, tmp_path)
    document = json.loads(file.read_text(encoding="utf-8"))
    assert file.name == AUDIT_FILE and document["findings"][0]["places"] == list(PLACES)
    assert audit_params(BOTH)["findings"][0]["places"] == list(PLACES[:10])
    assert sorted(path.name for path in tmp_path.iterdir()) == [AUDIT_FILE]


def test_an_audit_is_read_back_as_it_was(tmp_path: Path) -> None:
    found = Audit(COUNTS, COUNTS, (MASKED, SHORT))
    assert Audit.from_dict(json.loads(write_audit(found, tmp_path).read_text(encoding="utf-8"))) == found


def test_rows_of_other_files_are_named_with_their_file() -> None:
    places = ("a.jsonl row 1", "a.jsonl row 2", "b.jsonl row 1")
    found = Finding(
        "duplicate_row", "warning", "train", 3, 1.0, "repeat another", "Look.", places, ("a.jsonl row 9",) * 3
    )
    assert str(found).endswith("Rows: a.jsonl row 1 (as row 9), row 2 (as row 9), b.jsonl row 1 (as a.jsonl row 9)")


def prepared_rows(folder: Path, encoding: Encoding) -> Prepared:
    """Tokenize one row, of which its text alone shows the fault, into a folder."""
    rows = [Row("rows.jsonl row 1", {"prompt": "Where? ", "completion": "In the CafÃ©."})]
    table = token_table(encoding.token_rows([row.values for row in rows]), ["rows.jsonl row 1"])
    folder.mkdir()
    kind: dict[str, Any] = {"format": "prompt_completion", "is_chat": False, "num_read": 1, "skipped": (), "files": {}}
    return Prepared(folder, tables={"train": table}, rows=Rows("prompt_completion", rows, ()), **kind)


def test_an_audit_is_kept_with_the_tokens_that_it_is_of(encoding: Encoding, tmp_path: Path) -> None:
    prepared = prepared_rows(tmp_path / "tokens", encoding)
    found = audit_prepared(prepared, encoding, no_rows)
    assert [finding.code for finding in found.findings] == ["wrong_encoding"]
    assert audit_prepared(replace(prepared, rows=None), encoding, no_rows) == found


def test_rows_are_read_again_where_nothing_is_kept(encoding: Encoding, tmp_path: Path) -> None:
    prepared = prepared_rows(tmp_path / "tokens", encoding)
    (prepared.folder / AUDIT_FILE).write_text("{", encoding="utf-8")
    rows = prepared.rows
    assert rows is not None
    found = audit_prepared(replace(prepared, rows=None), encoding, lambda: rows)
    assert [finding.code for finding in found.findings] == ["wrong_encoding"]


def test_tokens_that_can_only_be_read_are_audited_all_the_same(encoding: Encoding, tmp_path: Path) -> None:
    prepared = prepared_rows(tmp_path / "tokens", encoding)
    (prepared.folder / AUDIT_FILE).mkdir()  # so that the file cannot be written
    before = sorted(prepared.folder.iterdir())
    assert [finding.code for finding in audit_prepared(prepared, encoding, no_rows).findings] == ["wrong_encoding"]
    assert sorted(prepared.folder.iterdir()) == before


def no_rows() -> Rows:
    raise AssertionError("the rows are at hand, or not needed")


@pytest.fixture
def encoding(tiny_config_only_model: Path) -> Encoding:
    text = (tiny_config_only_model / "tokenizer.json").read_text(encoding="utf-8")
    return Encoding(text, {"bos_token": "<s>", "eos_token": "</s>"}, CHATML, 400)
