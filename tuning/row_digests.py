"""Short digests of the rows of a file, by which a changed row can be named when the file as it was is gone."""

from __future__ import annotations

import base64
import difflib
import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tuning.data.readers import read_file

_DIGEST_BYTES = 3
"""Per block. A changed row is taken for an unchanged one once in 16 million times; the file's SHA-256 still tells."""

MOST_BLOCKS = 1 << 14
_LARGEST_FILE_BYTES = 1 << 26
"""Larger files are known by their SHA-256 alone: reading rows takes time from the training."""

_MOST_TOLD = 5
_LONGEST_ROW_SHOWN = 160
_MOST_MATCHED = 4096
"""Blocks that are matched one by one where rows came or went: matching takes up to the square of them."""


class Change(NamedTuple):
    """Blocks, counted from 0, that another stretch of blocks has taken the place of; either stretch may be empty."""

    old_start: int
    old_end: int
    new_start: int
    new_end: int


def row_digests(file: Path, most_blocks: int = MOST_BLOCKS) -> dict[str, Any] | None:
    """Digest a file's rows one by one, or in blocks of equal size where there are many; None for a large file."""
    if file.stat().st_size > _LARGEST_FILE_BYTES:
        return None
    digests = [_digest(row) for row in _rows(file)]
    rows_per_block = max(1, -(-len(digests) // most_blocks))
    blocks = _blocks(digests, rows_per_block)
    return {"rows_per_block": rows_per_block, "digests": base64.b64encode(b"".join(blocks)).decode("ascii")}


def changed_rows(before: Mapping[str, Any], file: Path) -> list[str]:
    """Name the rows of a file, counted from 1, that are not what they were when `row_digests` looked at them."""
    per_block = int(before["rows_per_block"])
    old = _split(base64.b64decode(before["digests"]))
    new = _blocks([_digest(row) for row in _rows(file)], per_block)
    told = [line for change in _changes(old, new) for line in _told(change, per_block, file)]
    if not told:
        return ["every row is as it was; only what stands between the rows differs"]
    more = [f"and {len(told) - _MOST_TOLD} more"] if len(told) > _MOST_TOLD else []
    return told[:_MOST_TOLD] + more


def _rows(file: Path) -> Iterator[bytes]:
    """Yield each row as bytes: a line of JSONL as it stands, a row of another layout as JSON."""
    if file.suffix.lower() == ".jsonl":
        with file.open("rb") as lines:
            yield from (stripped for line in lines if (stripped := line.strip()))
        return
    for row in read_file(file):
        yield json.dumps(row, sort_keys=True, ensure_ascii=False, default=str).encode()


def _digest(row: bytes) -> bytes:
    return hashlib.blake2b(row, digest_size=_DIGEST_BYTES).digest()


def _blocks(digests: Sequence[bytes], rows_per_block: int) -> list[bytes]:
    if rows_per_block == 1:
        return list(digests)
    starts = range(0, len(digests), rows_per_block)
    return [_digest(b"".join(digests[start : start + rows_per_block])) for start in starts]


def _split(digests: bytes) -> list[bytes]:
    return [digests[start : start + _DIGEST_BYTES] for start in range(0, len(digests), _DIGEST_BYTES)]


def _changes(old: Sequence[bytes], new: Sequence[bytes]) -> list[Change]:
    """List what differs between two lists of blocks, without what is the same at both ends."""
    head = _num_same(zip(old, new, strict=False))
    rest = min(len(old), len(new)) - head
    tail = _num_same(itertools.islice(zip(reversed(old), reversed(new), strict=False), rest))
    before, after = old[head : len(old) - tail], new[head : len(new) - tail]
    if len(before) == len(after):
        singles = ((index, index + 1) for index in range(head, head + len(before)) if old[index] != new[index])
        return [Change(start, end, start, end) for start, end in singles]
    if max(len(before), len(after)) > _MOST_MATCHED:
        return [Change(head, head + len(before), head, head + len(after))]
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    found = (codes for codes in matcher.get_opcodes() if codes[0] != "equal")
    return [Change(*(head + number for number in numbers)) for _, *numbers in found]


def _num_same(pairs: Iterator[tuple[bytes, bytes]]) -> int:
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _told(change: Change, rows_per_block: int, file: Path) -> list[str]:
    gone = _place(change.old_start, change.old_end, rows_per_block)
    added = _place(change.new_start, change.new_end, rows_per_block)
    if change.new_start == change.new_end:
        return [f"{gone} gone"]
    if change.old_start == change.old_end:
        return [f"{added} new"]
    if change.old_end - change.old_start != change.new_end - change.new_start:
        return [f"{gone} gone, and {added} in their place"]
    return [_changed(index, rows_per_block, file) for index in range(change.new_start, change.new_end)]


def _place(start: int, end: int, rows_per_block: int) -> str:
    first, last = start * rows_per_block + 1, end * rows_per_block
    return f"row {first} is" if first == last else f"rows {first} to {last} are"


def _changed(index: int, rows_per_block: int, file: Path) -> str:
    if rows_per_block > 1:
        first = index * rows_per_block + 1
        return f"rows {first} to {first + rows_per_block - 1} hold a change"
    text = next(itertools.islice(_rows(file), index, None)).decode("utf-8", "replace")
    text = text if len(text) <= _LONGEST_ROW_SHOWN else f"{text[:_LONGEST_ROW_SHOWN]}…"
    return f"row {index + 1} changed; it now reads {text}"
