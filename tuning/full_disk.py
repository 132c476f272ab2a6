"""Tell a full disk from other errors: some libraries write through the operating system, others only quote it."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tuning.errors import DiskFullError

_UNITS = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_TORCH = ("PytorchStreamWriter failed writing file", "] . unexpected pos ")
"""What torch.save says where a disk takes no more; it keeps the reason to itself."""


def full_disk(error: BaseException) -> str | None:
    """Return why an error, or one that led to it, came of a disk that takes no more; None: it did not."""
    return next((reason for each in _chain(error) if (reason := _reason(each))), None)


def disk_full_error(error: BaseException, what: str, folder: Path, then: str) -> DiskFullError | None:
    """Make the error that tells of a full disk: what was written, where, and what is left; None: it is another one."""
    reason = full_disk(error)
    if reason is None:
        return None
    told = f"{what} cannot be written to {folder}: {reason} ({in_units(free_bytes(folder))} are free). Make room there"
    return DiskFullError(f"{told}, and run the same command again: {then}")


def free_bytes(folder: Path) -> int:
    """Return what is free on the disk of a folder, or of the folder that it will be made in."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
    return shutil.disk_usage(there).free


def in_units(num_bytes: float) -> str:
    """Write a number of bytes as people read it."""
    unit, size = next((entry for entry in _UNITS if num_bytes >= entry[1]), _UNITS[-1])
    return f"{num_bytes / size:,.1f} {unit}"


def _chain(error: BaseException) -> Iterator[BaseException]:
    each: BaseException | None = error
    while each is not None:
        yield each
        each = each.__cause__ or each.__context__


def _reason(error: BaseException) -> str | None:
    if isinstance(error, OSError) and error.errno in _ERRORS:
        return os.strerror(error.errno)
    text = str(error)
    quoted = (os.strerror(number) for number in _ERRORS if os.strerror(number) in text)
    return next(quoted, "torch could not write all of a file" if any(told in text for told in _TORCH) else None)
