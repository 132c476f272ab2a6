"""Where the tracking files of a run stand, and how the small ones are written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuning.whole_files import write_whole


@dataclass(frozen=True)
class RunFiles:
    """Name every tracking file of one run folder."""

    run_dir: Path

    @property
    def folder(self) -> Path:
        return self.run_dir / "tracking"

    @property
    def events(self) -> Path:
        return self.folder / "events.jsonl"

    @property
    def links(self) -> Path:
        return self.folder / "links.json"

    @property
    def sender_log(self) -> Path:
        return self.folder / "sender.log"

    @property
    def sender_lock(self) -> Path:
        return self.folder / "sender.lock"

    @property
    def sender_pid(self) -> Path:
        return self.folder / "sender.pid"

    @property
    def events_lock(self) -> Path:
        return self.folder / "events.lock"

    @property
    def long_params(self) -> Path:
        return self.folder / "long_params.json"

    def delivery(self, tracker: str) -> Path:
        """Name the file that says how far one tracker has been fed."""
        return self.folder / "delivery" / f"{tracker}.json"

    def delivery_lock(self, tracker: str) -> Path:
        """Name the lock that keeps two processes from feeding one tracker at once."""
        return self.folder / "delivery" / f"{tracker}.lock"


def read_json(path: Path) -> dict[str, Any]:
    """Load a JSON object, or an empty one where the file is missing or unreadable."""
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def write_json(path: Path, value: Any) -> None:
    """Replace a file in one step, so that a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(value, indent=1) + "\n")
