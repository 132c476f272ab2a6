from __future__ import annotations

from pathlib import Path

import pytest

from tuning.run import COMPLETE_FILE, _set_results_aside, _set_torn_aside, complete


def folders(run_folder: Path, *names: str) -> None:
    for name in names:
        (run_folder / name).mkdir(parents=True)


def test_torn_checkpoints_are_moved_aside_and_none_is_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    left = ("unfinished/checkpoint-3", "unfinished/checkpoint-6", "unfinished/former-checkpoint-6")
    folders(tmp_path, "checkpoint-3", *left, "model")
    _set_torn_aside(tmp_path)
    moved = {path.relative_to(tmp_path / "earlier.1").as_posix() for path in (tmp_path / "earlier.1").rglob("*")}
    assert moved == {"checkpoint-3", "unfinished", *left}
    assert "the checkpoints that are not complete are now in" in caplog.text and (tmp_path / "model").is_dir()


def test_where_nothing_is_torn_no_folder_is_made(tmp_path: Path) -> None:
    _set_torn_aside(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_new_run_finds_neither_checkpoints_nor_results_of_an_earlier_one(tmp_path: Path) -> None:
    folders(tmp_path, "checkpoint-3", "unfinished/checkpoint-6")
    (tmp_path / "eval.json").touch()
    _set_results_aside(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["earlier.1"]


def test_a_complete_run_is_marked(tmp_path: Path) -> None:
    complete(tmp_path)
    assert (tmp_path / COMPLETE_FILE).is_file()
