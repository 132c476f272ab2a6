from __future__ import annotations

from pathlib import Path

from tuning.termination_log import write_termination_log


def test_the_cause_is_one_line(tmp_path: Path) -> None:
    write_termination_log("two problems:\n  a\n  b", {"TERMINATION_LOG_FILE": str(tmp_path / "log")})
    assert (tmp_path / "log").read_text() == "two problems: a b\n"


def test_without_a_file_nothing_is_written() -> None:
    write_termination_log("cause", {})
