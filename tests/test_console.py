from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tuning.console import end_summary, tell_devices
from tuning.errors import UserError


def test_processes_that_do_not_find_each_other_are_told_how_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    alone: Any = SimpleNamespace(world_size=1)
    with pytest.raises(UserError, match=r"2 processes were launched.*sees 1\. Without GPUs, set use_cpu=true"):
        tell_devices(alone, model=alone)


def test_the_summary_names_the_files_to_open_and_no_others(tmp_path: Path) -> None:
    for name in ("report.html", "eval.csv"):
        (tmp_path / name).write_text("")
    files = end_summary([], {}, [], tmp_path, tmp_path / "model").partition("Files\n")[2].splitlines()
    assert [line.split(maxsplit=1)[0] for line in files] == ["model", "run", "report", "scores"]
    assert files[2:] == [f"  report      {tmp_path / 'report.html'}", f"  scores      {tmp_path / 'eval.csv'}"]
