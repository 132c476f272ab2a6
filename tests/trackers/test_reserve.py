from __future__ import annotations

from pathlib import Path

import pytest

from tuning.trackers.reserve import Reserve


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.reserve"


def test_lines_are_there_for_whoever_opens_it_next(path: Path) -> None:
    reserve = Reserve(path, 8192)
    assert reserve.add(b"one\n") and reserve.add(b"two\n")
    assert Reserve(path).lines == [b"one\n", b"two\n"]


def test_the_file_never_grows(path: Path) -> None:
    reserve = Reserve(path, 8192)
    while reserve.add(b"x" * 99 + b"\n"):
        pass
    assert path.stat().st_size == 8192 and len(Reserve(path).lines) == 40


def test_the_last_line_finds_room_where_others_do_not(path: Path) -> None:
    reserve = Reserve(path, 8192)
    line = b"x" * 5000 + b"\n"
    assert not reserve.add(line) and reserve.add(line, is_last=True)


def test_what_is_cleared_is_gone(path: Path) -> None:
    reserve = Reserve(path, 8192)
    reserve.add(b"one\n")
    reserve.clear()
    assert Reserve(path).lines == []
    assert reserve.add(b"two\n") and Reserve(path).lines == [b"two\n"]


def test_a_line_that_was_cut_short_is_left_out(path: Path) -> None:
    path.write_bytes(b"one\ntw" + bytes(100))
    assert Reserve(path).lines == [b"one\n"]


def test_without_a_size_no_file_is_made(path: Path) -> None:
    assert not Reserve(path).add(b"one\n") and not path.exists()


def test_a_folder_without_room_keeps_nothing_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "events.reserve").mkdir()
    assert not Reserve(tmp_path / "events.reserve", 8192).add(b"one\n")
