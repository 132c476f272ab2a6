"""Room on the disk that a log takes while there is some, for the lines that find none later."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

logger = logging.getLogger(__name__)

_LAST_LINE_BYTES = 4096
"""Kept free for the line that says how the run ended."""


class Reserve:
    """A file of a fixed size that is written in place, which takes no further room; what is unused is zeros.

    It is there to outlast the process: whoever opens the log next puts its lines into it.
    """

    def __init__(self, path: Path, size: int = 0) -> None:
        self.path = path
        self._size = size
        self._used = 0
        self._file: int | None = None
        self.lines = self._load()
        if self._file is None and size:
            self._create()

    def add(self, line: bytes, *, is_last: bool = False) -> bool:
        """Keep a line; False where it does not fit."""
        room = self._size - self._used - (0 if is_last else _LAST_LINE_BYTES)
        if self._file is None or len(line) > room:
            return False
        try:
            written = os.pwrite(self._file, line, self._used)
        except OSError:
            return False
        # What was cut short has no line feed and is overwritten by the next line.
        self._used += written if written == len(line) else 0
        return written == len(line)

    def clear(self) -> None:
        """Forget the lines, which stand in the log now."""
        if self._file is not None and self._used:
            with contextlib.suppress(OSError):
                os.pwrite(self._file, bytes(self._used), 0)
            self._used = 0

    def close(self, *, remove: bool) -> None:
        """Let go of the file; it stays where its lines are still needed."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
        if remove:
            self.path.unlink(missing_ok=True)

    def _load(self) -> list[bytes]:
        try:
            content = self.path.read_bytes()
            self._file = os.open(self.path, os.O_RDWR)
        except OSError:
            return []
        used = content.partition(b"\0")[0]
        lines = used[: used.rfind(b"\n") + 1].splitlines(keepends=True)
        self._size, self._used = len(content), sum(map(len, lines))
        return lines

    def _create(self) -> None:
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            # Real zeros: blocks that were only promised could still be refused when they are written.
            self._size = os.pwrite(self._file, bytes(self._size), 0)
        except OSError as error:
            logger.debug("no room is kept for the log: %s", error)
            self._size = 0
