"""The folders that a server may read, and the document whose every path leads into them."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tuning.data.sources import files_of, holds_rows, is_hidden
from tuning.errors import DataError, UserError
from tuning.recommender.bounded_walk import Walk, split_pattern
from tuning.recommender.model_files import load_json

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.\-]*(/[A-Za-z0-9][\w.\-]*)?")
_WEIGHTS_INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class FileState:
    """One file as it stands now; whatever was read from it holds until one of these changes."""

    path: str
    modified_ns: int
    num_bytes: int
    inode: int


class OutsideError(UserError):
    """A path that leads out of the allowed folders; the message is the same whether something is there or not."""


class AllowedRoots:
    """The folders, with symbolic links resolved. Every answer is about where a path really leads."""

    def __init__(self, roots: Iterable[str | Path]) -> None:
        self.folders = tuple(dict.fromkeys(_existing_folder(Path(root)) for root in roots))
        if not self.folders:
            raise UserError("give at least one folder that may be read")

    def names(self) -> list[str]:
        """List the folders' own names, without where they stand."""
        return [folder.name or str(folder) for folder in self.folders]

    def resolve(self, path: str) -> Path:
        """Say where a path leads; a relative one starts in the current folder, as it does for the trainer.

        Raises:
            OutsideError: it leads out of the folders, or nowhere that a path can lead.
        """
        try:
            resolved = Path(path).expanduser().resolve()
        except (OSError, ValueError, RuntimeError) as error:
            raise OutsideError("is no path of this machine") from error
        if not self.hold(resolved):
            raise OutsideError("leads out of the folders that this server may read")
        return resolved

    def hold(self, resolved: Path) -> bool:
        """Tell whether a resolved path is one of the folders, or in one."""
        return any(resolved == folder or folder in resolved.parents for folder in self.folders)

    def model_folder(self, name: str) -> Path | None:
        """Find a model's or a tokenizer's folder; None for what can only be a Hub id, which is never looked up here.

        Raises:
            UserError: it leads outside, or is no folder.
        """
        try:
            folder = self.resolve(name)
        except OutsideError:
            if _HUB_ID.fullmatch(name):
                return None
            raise
        if _is(folder, stat.S_ISDIR):
            return folder
        if _HUB_ID.fullmatch(name) and not os.path.lexists(folder):
            return None
        raise UserError("there is no such folder")

    def data_files(self, path: str, walk: Walk) -> list[Path] | None:
        """List the data files that a path stands for; None for what can only be a Hub id.

        Raises:
            UserError: it leads outside, there is nothing to read, or too much.
        """
        walk.count_entry()
        if glob.has_magic(path) and not os.path.lexists(os.path.expanduser(path)):
            folder, parts = split_pattern(path)
            return self._rows(walk.matches(self.resolve(folder), parts, self.resolve_entry), walk)
        try:
            resolved = self.resolve(path)
        except OutsideError:
            if _HUB_ID.fullmatch(path) and "." not in path:
                return None
            raise
        if _is(resolved, stat.S_ISDIR):
            below = (Path(entry.path) for entry in walk.below(resolved))
            return self._rows((file for file in below if not is_hidden(file, resolved)), walk)
        try:
            files = files_of([path])
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror or error}") from error
        return None if files is None else self._rows(files, walk)

    def _rows(self, found: Iterable[Path], walk: Walk) -> list[Path]:
        """Keep what holds rows, in the order in which a trainer reads it."""
        files: list[Path] = []
        for file in filter(holds_rows, found):
            walk.count_files()
            files.append(file)
        return [self.regular(file) for file in sorted(files)]

    def regular(self, file: Path) -> Path:
        """Say where a file leads.

        Raises:
            UserError: it leads outside, or is a folder, a pipe or a device.
        """
        try:
            resolved = self.resolve(str(file))
        except OutsideError as error:
            raise OutsideError(f"{file.name} {error}") from error
        if not _is(resolved, stat.S_ISREG):
            raise UserError(f"{file.name} is no regular file")
        return resolved

    def files_of_model(self, folder: Path, walk: Walk) -> list[Path]:
        """List the files of a model's folder and of the folders in it.

        Raises:
            UserError: one of them leads outside, or there are too many.
        """
        found: list[Path] = []
        for entry in _entries(folder, walk):
            if _is(self.resolve_entry(entry), stat.S_ISDIR):
                found += [self.resolve_entry(inner) for inner in _entries(entry, walk)]
            else:
                found.append(self.regular(entry))
        files = [file for file in found if _is(file, stat.S_ISREG)]
        walk.count_files(len(files))
        return files

    def files_below(self, folder: Path, walk: Walk) -> list[Path]:
        """List the files of a folder and of all folders below it; links to folders are not followed.

        Raises:
            UserError: it is no folder, one of its files leads outside, or there are too many.
        """
        if not _is(folder, stat.S_ISDIR):
            raise UserError("there is no such folder")
        found: list[Path] = []
        for entry in walk.below(folder):
            if not _is(Path(entry.path), stat.S_ISDIR):
                walk.count_files()
                found.append(Path(entry.path))
        return [self.regular(file) for file in found]

    def resolve_entry(self, entry: Path) -> Path:
        """Say where an entry of a folder leads.

        Raises:
            OutsideError: it leads outside; names the entry.
        """
        try:
            return self.resolve(str(entry))
        except OutsideError as error:
            raise OutsideError(f"{entry.name} {error}") from error

    def check_weights_index(self, folder: Path) -> None:
        """Refuse a model whose index of weights names a file elsewhere.

        Raises:
            UserError: it does.
        """
        names = (load_json(folder / _WEIGHTS_INDEX) or {}).get("weight_map")
        for name in set(map(str, names.values())) if isinstance(names, dict) else ():
            if (folder / name).parent != folder:
                raise OutsideError(f"{_WEIGHTS_INDEX} names a file in another folder")
            self.resolve_entry(folder / name)


def states(files: Iterable[Path]) -> Iterator[FileState]:
    """Look at files without opening them; one that is gone by now is left out."""
    for file in files:
        try:
            found = file.stat()
        except OSError:
            continue
        yield FileState(str(file), found.st_mtime_ns, found.st_size, found.st_ino)


def _existing_folder(root: Path) -> Path:
    resolved = root.expanduser().resolve()
    if not resolved.is_dir():
        raise UserError(f"{root}: there is no such folder to read from")
    return resolved


def _is(path: Path, kind: Callable[[int], bool]) -> bool:
    try:
        return kind(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def _entries(folder: Path, walk: Walk) -> list[Path]:
    try:
        return [folder / entry.name for entry in walk.entries_of(folder)]
    except OSError as error:
        raise UserError(f"{folder.name} cannot be read: {error.strerror or error}") from error
