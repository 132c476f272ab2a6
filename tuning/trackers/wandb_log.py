"""Read the file that W&B keeps a run in: LevelDB's log format around protocol-buffer records."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Source: LevelDB's doc/log_format.md; W&B puts seven bytes of its own in front of the first block.
_BLOCK_BYTES = 32768
_HEADER_BYTES = 7
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


class TransactionLog:
    """Read a transaction log that may still be growing, a piece at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = _HEADER_BYTES

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of the history that came in since the last call."""
        histories = self.records("history")
        return [{_key(item): json.loads(item.value_json) for item in record.history.item} for record in histories]

    def records(self, kind: str) -> list[Any]:
        """Return the records of a kind, such as `history` or `artifact`, that came in since the last call."""
        from wandb.proto import wandb_internal_pb2

        protocol: Any = wandb_internal_pb2
        records = [protocol.Record.FromString(data) for data in self._records()]
        return [record for record in records if record.WhichOneof("record_type") == kind]

    def _records(self) -> Iterator[bytes]:
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        start, parts = self._offset, b""
        position = 0
        while (found := _fragment(data, position, start)) is not None:
            kind, content, position = found
            parts = content if kind in (_FULL, _FIRST) else parts + content
            if kind in (_FULL, _LAST):
                self._offset = start + position
                yield parts


def _fragment(data: bytes, position: int, start: int) -> tuple[int, bytes, int] | None:
    """Return kind, content and end of the fragment at a position, or None where it is not complete."""
    room = _BLOCK_BYTES - (start + position) % _BLOCK_BYTES
    if room < _HEADER_BYTES:
        position += room
    if position + _HEADER_BYTES > len(data):
        return None
    _, length, kind = struct.unpack_from("<IHB", data, position)
    begin = position + _HEADER_BYTES
    if begin + length > len(data) or kind not in (_FULL, _FIRST, _MIDDLE, _LAST):
        return None
    return kind, data[begin : begin + length], begin + length


def _key(item: Any) -> str:
    return item.key or ".".join(item.nested_key)
