"""The run's own record: one JSON object per line, appended and never changed."""

from __future__ import annotations

import json
import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tuning.trackers.reserve import Reserve

logger = logging.getLogger(__name__)

Record = dict[str, Any]
_CHUNK_BYTES = 1 << 18
_MOST_WAITING_BYTES = 1 << 24
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


class EventLog:
    """Append records to a run's log, each written to the operating system before the call returns.

    On a full disk records wait: in memory, and as long as they fit in `reserve_bytes` that were taken early, so that
    they outlast this process. They are written as soon as there is room. What does not even fit in memory is dropped
    and counted.
    """

    def __init__(self, path: Path, reserve_bytes: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.dropped = 0
        self._warned = False
        self._lock = threading.Lock()
        self._file: int | None = _opened(path)
        self._seq, self._torn = _end_of(path)
        self._reserve = Reserve(path.with_suffix(".reserve"), reserve_bytes)
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._num_only_in_memory = 0
        self._recover()

    @property
    def num_waiting(self) -> int:
        """Records that have found no room yet."""
        return len(self._waiting)

    def append(self, kind: str, **fields: Any) -> int:
        """Write one record and return its number."""
        with self._lock:
            self._seq += 1
            record = {"seq": self._seq, "time": round(time.time(), 6), "type": kind, **fields}
            line = _ENCODER.encode(record).encode() + b"\n"
            self._write(line, is_last=kind == "state")
            return self._seq

    def flush(self) -> bool:
        """Try to write the records that wait; True when none is left."""
        with self._lock:
            return self._write_waiting()

    def sync(self) -> None:
        """Wait until everything written so far is on the disk."""
        with self._lock:
            if self._file is not None:
                _ignore_os_error(os.fsync, self._file)

    def close(self) -> None:
        """Sync and close; a later `append` opens the log again."""
        self.sync()
        with self._lock:
            is_written = self._write_waiting()
            self.dropped += self._num_only_in_memory
            if self._file is not None:
                os.close(self._file)
            self._file = None
            self._reserve.close(remove=is_written)

    def _recover(self) -> None:
        """Take over what an earlier process found no room for."""
        records = [(_parse(line), line) for line in self._reserve.lines]
        lines = [(record["seq"], line) for record, line in records if record and record["seq"] > self._seq]
        for seq, line in lines:
            self._seq = seq
            self._wait(line)
        if self._reserve.lines:
            self._write_waiting()

    def _write(self, line: bytes, *, is_last: bool) -> None:
        if self._waiting_bytes + len(line) > _MOST_WAITING_BYTES and not is_last:
            self.dropped += 1
            self._write_waiting()
            return
        self._wait(line)
        if not self._write_waiting() and not self._reserve.add(line, is_last=is_last):
            self._num_only_in_memory += 1

    def _wait(self, line: bytes) -> None:
        self._waiting.append(line)
        self._waiting_bytes += len(line)

    def _write_waiting(self) -> bool:
        while self._waiting:
            if not self._write_line(self._waiting[0]):
                return False
            self._waiting_bytes -= len(self._waiting.popleft())
        self._reserve.clear()
        self._num_only_in_memory = 0
        return True

    def _write_line(self, line: bytes) -> bool:
        # The line feed in front ends a line that was cut short; readers pass over what stands before it.
        data = (b"\n" if self._torn else b"") + line
        try:
            if self._file is None:
                self._file = _opened(self.path)
            written = os.write(self._file, data)
        except OSError as error:
            self._warn(str(error))
            return False
        self._torn = False
        if written == len(data):
            return True
        # The rest goes on where this ended, so that a line which lacks only its end is not there twice.
        self._waiting[0] = data[written:]
        self._waiting_bytes += len(self._waiting[0]) - len(line)
        self._warn("it was written in part, as on a full disk")
        return False

    def _warn(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            logger.warning("Tracking records wait until they can be written to %s: %s", self.path, reason)


class LogReader:
    """Read a log that may still be growing, a piece at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.num_unreadable = 0
        self.replaced = False
        """The file has gone or is another one now: this log ends where it was read to."""
        self._offset = 0
        self._inode: int | None = None

    def read(self, chunk_bytes: int = _CHUNK_BYTES) -> list[Record]:
        """Return the next complete records, or an empty list where there are none yet."""
        lines = self._next_lines(chunk_bytes)
        records = [_parse(line) for line in lines if line.strip()]
        self.num_unreadable += records.count(None)
        return [record for record in records if record is not None]

    def at_end(self) -> bool:
        """Tell whether no complete line is left to read."""
        return not self._next_lines(_CHUNK_BYTES, consume=False)

    def _next_lines(self, chunk_bytes: int, consume: bool = True) -> list[bytes]:
        try:
            with self.path.open("rb") as file:
                chunk = self._next_chunk(file, chunk_bytes)
        except OSError:
            self.replaced = self._inode is not None
            return []
        complete = chunk[: chunk.rfind(b"\n") + 1]
        if consume:
            self._offset += len(complete)
        return complete.splitlines()

    def _next_chunk(self, file: BinaryIO, chunk_bytes: int) -> bytes:
        inode = os.fstat(file.fileno()).st_ino
        self.replaced = self._inode not in (None, inode)
        if self.replaced:
            return b""
        self._inode = inode
        file.seek(self._offset)
        chunk = file.read(chunk_bytes)
        return chunk if b"\n" in chunk else chunk + file.readline()


def read_records(path: Path) -> Iterator[Record]:
    """Yield every readable record of a log; a line that was cut short is passed over."""
    reader = LogReader(path)
    while not reader.at_end():
        yield from reader.read()


def number_to_json(value: float) -> float | str:
    """Write a number so that strict JSON can hold it: `"NaN"`, `"Infinity"` and `"-Infinity"` are text."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _opened(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)


def _parse(line: bytes) -> Record | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("seq"), int) else None


def _end_of(path: Path) -> tuple[int, bool]:
    """Return the number of the last record, and whether the last line was cut short."""
    last, line = b"", b"\n"
    with path.open("rb") as file:
        for line in file:
            if line.startswith(b'{"seq":') and line.endswith(b"}\n"):
                last = line
    record = _parse(last)
    return record["seq"] if record else 0, not line.endswith(b"\n")


def _ignore_os_error(call: Any, *args: Any) -> None:
    try:
        call(*args)
    except OSError as error:
        logger.warning("%s: %s", call.__name__, error)
