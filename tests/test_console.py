from __future__ import annotations

from pathlib import Path

import pytest

from tuning.console import end, end_summary


def test_the_summary_names_the_files_to_open_and_no_others(tmp_path: Path) -> None:
    for name in ("report.html", "eval.csv"):
        (tmp_path / name).write_text("")
    summary = end_summary([], {}, [], tmp_path, tmp_path / "model", exports=[tmp_path / "export" / "gguf"])
    files = summary.partition("Files\n")[2].splitlines()
    assert [line.split(maxsplit=1)[0] for line in files] == ["model", "export", "run", "report", "scores"]
    assert files[1] == f"  export      {tmp_path / 'export' / 'gguf'}"
    assert files[3:] == [f"  report      {tmp_path / 'report.html'}", f"  scores      {tmp_path / 'eval.csv'}"]


@pytest.mark.parametrize(("local_rank", "told"), [("0", "the cause\n"), ("1", "")])
def test_the_first_process_of_a_machine_says_why_the_run_ended(
    local_rank: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "log"
    log.touch()
    for name, value in {"RANK": "3", "LOCAL_RANK": local_rank, "TERMINATION_LOG_FILE": str(log)}.items():
        monkeypatch.setenv(name, value)
    assert end(1, "the cause") == 1
    assert (capsys.readouterr().err, log.read_text()) == (told, told)


def test_a_fault_of_another_process_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "1")
    end(203, "the disk is full")
    assert caplog.messages == ["rank 1: the disk is full"]
