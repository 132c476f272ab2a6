"""What the processes of one attempt leave in a folder for whoever watches them: their ids, and how they ended.

Launchers answer 1 however a process fails; its own exit code, and whether it died without a word, is known from here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tuning.errors import EXIT_INTERNAL_ERROR, EXIT_PREEMPTED, EXIT_SUCCESS, EXIT_USER_ERROR
from tuning.whole_files import write_whole

_LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Ending:
    """How an attempt ended: the exit code of the run, why in a few words, and whether the first process here said so.

    "Here" is this machine.
    """

    code: int
    cause: str
    was_told: bool = False


@dataclass(frozen=True)
class Ranks:
    """The processes of one attempt on this machine."""

    folder: Path
    count: int

    def leave_id(self, rank: int) -> None:
        """Say that the process of this rank is here."""
        write_whole(self._file(rank, "pid"), str(os.getpid()))

    def leave_code(self, rank: int, code: int) -> None:
        """Say how the process of this rank ends."""
        write_whole(self._file(rank, "code"), str(code))

    def await_first(self, seconds: float) -> None:
        """Wait until the first process has said how it ends: a launcher ends the others as soon as one has failed."""
        until = time.monotonic() + seconds
        while not self._file(0, "code").exists() and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)

    def ids(self) -> dict[int, int]:
        """Map each rank that is here, or was, to its process id."""
        return dict(self._left("pid"))

    def running(self) -> dict[int, int]:
        """Map each rank that runs to its process id: one that names the folder, as an id may be another's by now."""
        return {rank: number for rank, number in self.ids().items() if str(self.folder) in _words_of(number)}

    def ending(self, launcher_code: int, was_stopped: bool) -> Ending:
        """Tell how the attempt ended: as the first process to end badly says, unless another one died without a word.

        `was_stopped`: a signal was passed on. A process that is sent away because another one died ends with a fault,
        or as if it had been stopped on request; one that ends the others because its input is wrong does so first.
        """
        codes, ids = dict(self._left("code")), self.ids()
        first = next(((rank, code) for rank, code in codes.items() if code != EXIT_SUCCESS), None)
        if first is None and (launcher_code == 0 or len(codes) == self.count):
            return Ending(EXIT_SUCCESS, "done")
        if was_stopped:
            return Ending(EXIT_PREEMPTED if first is None else first[1], "stopped on request")
        if first is not None and (first[1] == EXIT_USER_ERROR or len(codes) == self.count):
            # A fault of another process comes before the one of the first that misses it, and is the cause.
            first_here = min(ids, default=0)
            told = first_here in codes and (first[1] == EXIT_USER_ERROR or first[0] == first_here)
            return Ending(first[1], f"rank {first[0]} ended with exit code {first[1]}", was_told=told)
        if not ids:
            return Ending(EXIT_INTERNAL_ERROR, f"the launcher ended with exit code {launcher_code} and started nothing")
        died = sorted(ids.keys() - codes.keys() or ids)
        return Ending(EXIT_INTERNAL_ERROR, f"rank {', '.join(map(str, died))} died")

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Let the ranks see that somebody watches them for as long as the block goes on, however it ends."""
        with self._watch().open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def await_nobody_watching(self) -> None:
        """Wait until whoever watches the ranks is gone."""
        with self._watch().open() as file:
            fcntl.flock(file, fcntl.LOCK_SH)

    def _watch(self) -> Path:
        return self.folder / "watched"

    def _file(self, rank: int, what: str) -> Path:
        return self.folder / f"rank-{rank}.{what}"

    def _left(self, what: str) -> Iterator[tuple[int, int]]:
        """Yield each rank and the number that it left, the earliest first."""
        for file in sorted(self.folder.glob(f"rank-*.{what}"), key=lambda file: file.stat().st_mtime_ns):
            with contextlib.suppress(ValueError, OSError):
                yield int(file.stem.rpartition("-")[2]), int(file.read_text(encoding="utf-8"))


def _words_of(process_id: int) -> list[str]:
    """Return the command line of a process, empty where it cannot be seen, or is gone."""
    import psutil

    try:
        return psutil.Process(process_id).cmdline()
    except (psutil.Error, OSError):
        return []
