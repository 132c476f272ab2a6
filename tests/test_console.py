from __future__ import annotations

from pathlib import Path

from tuning.console import end_summary


def test_the_summary_names_the_files_to_open_and_no_others(tmp_path: Path) -> None:
    for name in ("report.html", "eval.csv"):
        (tmp_path / name).write_text("")
    files = end_summary([], {}, [], tmp_path, tmp_path / "model").partition("Files\n")[2].splitlines()
    assert [line.split(maxsplit=1)[0] for line in files] == ["model", "run", "report", "scores"]
    assert files[2:] == [f"  report      {tmp_path / 'report.html'}", f"  scores      {tmp_path / 'eval.csv'}"]
