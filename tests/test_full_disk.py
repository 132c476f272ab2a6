from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tuning.errors import EXIT_INTERNAL_ERROR
from tuning.full_disk import disk_full_error, full_disk, in_units


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "f"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:858] . PytorchStreamWriter failed writing file data/0"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 104256 vs 104148"),
    ],
)
def test_a_full_disk_is_known_in_the_words_of_each_library(error: Exception) -> None:
    assert full_disk(error)


def test_it_is_known_behind_the_error_that_it_led_to() -> None:
    error = RuntimeError("no checkpoint")
    error.__cause__ = OSError(errno.EFBIG, "File too large")
    assert full_disk(error) == "File too large"


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "Permission denied"), RuntimeError("shapes do not match")])
def test_other_errors_are_none(error: Exception) -> None:
    assert full_disk(error) is None and disk_full_error(error, "the model", Path("."), "x") is None


def test_the_message_says_what_where_and_what_to_do(tmp_path: Path) -> None:
    full = disk_full_error(OSError(errno.ENOSPC, ""), "the model", tmp_path / "new", "it goes on")
    assert full is not None and full.exit_code == EXIT_INTERNAL_ERROR
    assert str(full).startswith(f"the model cannot be written to {tmp_path / 'new'}: No space left on device (")
    assert str(full).endswith(" are free). Make room there, and run the same command again: it goes on")


@pytest.mark.parametrize(("size", "text"), [(100, "0.1 KiB"), (3 << 19, "1.5 MiB"), (5 << 40, "5,120.0 GiB")])
def test_sizes_are_written_as_people_read_them(size: int, text: str) -> None:
    assert in_units(size) == text
