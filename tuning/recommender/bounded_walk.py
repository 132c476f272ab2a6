"""Walk folders for a request: so many entries and files and so long, over all its paths, and through no link outside.

`glob` follows links to folders under `**`; two links to the folder that they stand in are enough for it never to end.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tuning.errors import UserError

MOST_FILES = 10_000
"""Files that all paths of one request may stand for."""
MOST_ENTRIES = 100_000
"""Entries of folders that are looked at for one request."""
MOST_SECONDS = 10.0
"""Longest that all walks of one request may take."""
LONGEST_PATTERN = 4_096
"""Characters. Source: PATH_MAX of Linux; no longer path can be opened."""
MOST_PARTS = 32
"""Parts of a pattern from its first star on."""


@dataclass
class Walk:
    """What one request may still look at; each folder that it looks into takes from it."""

    files: int = MOST_FILES
    entries: int = MOST_ENTRIES
    ends: float = field(default_factory=lambda: time.monotonic() + MOST_SECONDS)

    def count_entry(self) -> None:
        """Take account of one more entry or path.

        Raises:
            UserError: there are too many, or it takes too long.
        """
        self.entries -= 1
        if self.entries < 0:
            raise UserError(f"leads to more than {MOST_ENTRIES:,} files and folders in this request; name fewer")
        if time.monotonic() > self.ends:
            raise UserError(f"takes longer than {MOST_SECONDS:g} seconds to look through; name fewer folders")

    def count_files(self, count: int = 1) -> None:
        """Take account of more files.

        Raises:
            UserError: there are too many.
        """
        self.files -= count
        if self.files < 0:
            raise UserError(f"stands for more than {MOST_FILES:,} files with the rest of this request; name fewer")

    def entries_of(self, folder: Path) -> Sequence[os.DirEntry[str]]:
        """List a folder's entries by name.

        Raises:
            OSError: it cannot be read.
            UserError: there are too many, or it takes too long.
        """
        found: list[os.DirEntry[str]] = []
        with os.scandir(folder) as entries:
            for entry in entries:
                self.count_entry()
                found.append(entry)
        return sorted(found, key=lambda entry: entry.name)

    def below(self, folder: Path, hidden: bool = True) -> Iterator[os.DirEntry[str]]:
        """Yield every entry of a folder and of the folders below it; links to folders are yielded, and not followed.

        Raises:
            UserError: there are too many, or it takes too long.
        """
        waiting = [folder]
        while waiting:
            for entry in self._if_readable(waiting.pop()):
                if hidden or not entry.name.startswith("."):
                    yield entry
                    if _is_own_folder(entry):
                        waiting.append(Path(entry.path))

    def matches(self, folder: Path, parts: Sequence[str], check: Callable[[Path], object]) -> Iterator[Path]:
        """Yield what a pattern's parts lead to from a folder, as `glob` does, but `**` follows no link.

        `check` raises for a folder that may not be entered.

        Raises:
            UserError: there are too many entries, it takes too long, or `check` raised it.
        """
        first, rest = parts[0], parts[1:]
        if first == "**":
            inside = [folder, *(Path(each.path) for each in self.below(folder, hidden=False) if _is_own_folder(each))]
            for each in inside:
                yield from self.matches(each, rest or ("*",), check)
            return
        for found in self._named(folder, first):
            if not rest:
                yield found
            elif os.path.islink(found) or os.path.isdir(found):
                check(found)
                yield from self.matches(found, rest, check)

    def _if_readable(self, folder: Path) -> Sequence[os.DirEntry[str]]:
        try:
            return self.entries_of(folder)
        except OSError:  # also what is no folder
            return ()

    def _named(self, folder: Path, part: str) -> Iterator[Path]:
        if not glob.has_magic(part):
            self.count_entry()
            yield from [folder / part] if os.path.lexists(folder / part) else []
            return
        matching = re.compile(fnmatch.translate(part)).match
        for entry in self._if_readable(folder):
            if matching(entry.name) and (part.startswith(".") or not entry.name.startswith(".")):
                yield folder / entry.name


def split_pattern(pattern: str) -> tuple[str, Sequence[str]]:
    """Split a pattern before its first star, into a folder and the parts that lead down from there.

    Raises:
        UserError: the pattern goes up again, has more than one `**`, or is too long.
    """
    parts = Path(pattern).parts
    first = next(index for index, part in enumerate(parts) if glob.has_magic(part))
    rest = parts[first:]
    if ".." in rest or rest.count("**") > 1:
        raise UserError("expected a pattern without .. after a star, and with one ** at most")
    if len(pattern) > LONGEST_PATTERN or len(rest) > MOST_PARTS:
        raise UserError(
            f"expected a pattern of at most {LONGEST_PATTERN:,} characters, with {MOST_PARTS} parts after a star"
        )
    return os.path.join(*parts[:first]) if first else ".", rest


def _is_own_folder(entry: os.DirEntry[str]) -> bool:
    """Tell whether an entry is a folder that stands there itself, and not a link to one."""
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False
