"""How far one backend has been fed: written by its feed, read by everybody else."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tuning.trackers.run_files import RunFiles, read_json, write_json


@dataclass
class Progress:
    """The state of one backend; `seq`, `sent` and `closed` are record numbers of the event log."""

    run_id: str | None = None
    url: str | None = None
    open_with: str | None = None
    seq: int = 0
    """Every record up to this one has arrived, artifacts in `left` excepted."""
    sent: int = 0
    """Every record up to this one was handed over, though it may not be safe yet."""
    closed: int = 0
    """The final state that the backend was last closed with."""
    left: list[list[str]] = field(default_factory=list)
    """Artifacts still to be sent, as (path, name)."""
    refused: int = 0
    """Values that the backend does not take."""
    error: str | None = None
    """The last thing that went wrong."""

    def is_complete(self, seq: int, end: int) -> bool:
        """Tell whether everything up to a record and the final state at another one have arrived."""
        return self.seq >= seq and self.closed >= end and not self.left


def load_progress(files: RunFiles, tracker: str) -> Progress:
    """Load the progress of one backend; a new one where it has not been fed yet."""
    known = {known.name for known in dataclasses.fields(Progress)}
    return Progress(**{key: value for key, value in read_json(files.delivery(tracker)).items() if key in known})


def save_progress(files: RunFiles, tracker: str, progress: Progress) -> None:
    """Write down how far a backend has been fed."""
    write_json(files.delivery(tracker), dataclasses.asdict(progress))


def incomplete(files: RunFiles, trackers: Iterable[str], seq: int, end: int) -> dict[str, Progress]:
    """Return the backends that have not had everything yet."""
    progress = {name: load_progress(files, name) for name in trackers}
    return {name: one for name, one in progress.items() if not one.is_complete(seq, end)}


def write_links(files: RunFiles, trackers: Iterable[str]) -> None:
    """Write `links.json`: the run's id and page in every backend, and the command that opens it."""
    links: dict[str, Any] = {}
    for name in trackers:
        progress = load_progress(files, name)
        if progress.run_id is not None:
            links[name] = {"run_id": progress.run_id, "url": progress.url, "open_with": progress.open_with}
    if links != read_json(files.links):
        write_json(files.links, links)
