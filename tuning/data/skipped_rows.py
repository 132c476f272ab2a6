"""The list of the rows that were left out, in the run folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from tuning.data.sources import Skipped

SKIPPED_FILE = "skipped_rows.jsonl"


def write_skipped(skipped: Sequence[Skipped], folder: Path) -> None:
    """List the rows that were left out, one JSON object per line; no file where there are none."""
    file = folder / SKIPPED_FILE
    file.unlink(missing_ok=True)
    if skipped:
        append_skipped(skipped, folder)


def append_skipped(skipped: Iterable[Skipped], folder: Path) -> None:
    """Add rows that were left out to their list."""
    lines = [json.dumps({"place": one.place, "reason": one.reason}, ensure_ascii=False) for one in skipped]
    with (folder / SKIPPED_FILE).open("a", encoding="utf-8") as file:
        file.write("".join(f"{line}\n" for line in lines))
