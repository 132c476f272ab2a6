"""Follow the attempts of a run from outside, and give a run whose trainer has died its final state."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from tuning.trackers.event_log import EventLog, LogReader, Record
from tuning.trackers.file_lock import file_lock
from tuning.trackers.processes import is_alive
from tuning.trackers.progress import incomplete
from tuning.trackers.replay import ENDED
from tuning.trackers.run_files import RunFiles


class RunWatch:
    """The newest attempt of a run, and the state it ended with."""

    def __init__(self, files: RunFiles) -> None:
        self.run: Record | None = None
        self.end: Record | None = None
        self.is_abandoned = False
        """The trainer is gone, and a full disk keeps its final state from being written."""
        self.num_attempts = 0
        self.seq = 0
        self._files = files
        self._reader = LogReader(files.events)
        self.look()

    def look(self) -> None:
        """Take in what was written since the last time."""
        while records := self._reader.read():
            for record in records:
                self._take(record)

    def mark_if_killed(self) -> None:
        """Write `killed` into the log where the newest attempt's process is gone and left no final state."""
        if self.run is None or self.end is not None or self.replaced or trainer_may_live(self.run):
            return
        attempt = self.num_attempts
        with file_lock(self._files.events_lock):
            # Opening the log writes what the trainer found no room for, which may be the state.
            log = EventLog(self._files.events)
            self.look()
            if self.end is None and self.num_attempts == attempt and not log.num_waiting:
                log.append("state", state="killed", error="the training process ended without a word", by="sender")
            log.close()
        self.look()
        self.is_abandoned = self.end is None

    @property
    def replaced(self) -> bool:
        """Tell whether the log was moved away."""
        return self._reader.replaced

    def is_complete(self, trackers: Sequence[str]) -> bool:
        """Tell whether every backend has had the whole log."""
        return not incomplete(self._files, trackers, self.seq, 0 if self.end is None else self.end["seq"])

    def _take(self, record: Record) -> None:
        self.seq = max(self.seq, record["seq"])
        if record.get("type") == "run":
            self.run, self.end = record, None
            self.num_attempts += 1
        elif record.get("type") == "state" and record.get("state") in ENDED:
            self.end = record


def trainer_may_live(run: Record) -> bool:
    """Tell whether the process that wrote a `run` record still runs; one on another machine may."""
    return is_elsewhere(run) or is_alive(int(run.get("pid") or 0), run.get("pid_started"))


def is_elsewhere(run: Record) -> bool:
    """Tell whether a `run` record was written on another machine."""
    return run.get("host") != socket.gethostname()
