"""File systems that only this process and its children see, for disks that are full or cannot be written.

Root cannot be kept out of a folder by its permissions, so a read-only store is a read-only mount and a full disk is a
small one in memory that is filled. Both live in a mount namespace of their own (`private`) and vanish with it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

_BALLAST = "ballast"
_BLOCK = b"\0" * 4096


def private(command: list[str]) -> list[str]:
    """Wrap a command so that it has mounts and process numbers of its own; all its processes end with it."""
    return [*_unshare(), *command] if can_be_private() else command


@cache
def can_be_private() -> bool:
    """Tell whether this system lets us have namespaces; without, disks cannot be broken."""
    if shutil.which("unshare") is None:
        return False
    tried = subprocess.run([*_unshare(), "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False)
    return tried.returncode == 0


def mount_small(folder: Path, size_mib: int) -> None:
    """Put a file system of a few MiB in a folder's place."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "tmpfs", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Leave not one block free."""
    with (folder / _BALLAST).open("ab", buffering=0) as file:
        try:
            while True:
                file.write(_BLOCK)
        except OSError:
            return


def make_room(folder: Path) -> None:
    """Free what `fill` took."""
    (folder / _BALLAST).unlink()


def mount_read_only(folder: Path) -> None:
    """Let nobody write to a folder, root neither."""
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)


def mount_writable(folder: Path) -> None:
    """Undo `mount_read_only`."""
    subprocess.run(["mount", "-o", "remount,rw,bind", str(folder)], check=True)


def _unshare() -> list[str]:
    own_user = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", *own_user, "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
