"""Run one feed per backend until the run has ended and everything has arrived, or nothing moves any more."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from tuning.trackers.processes import kill_group, start_with_order, when_told_to_stop
from tuning.trackers.progress import load_progress, write_links
from tuning.trackers.run_files import RunFiles
from tuning.trackers.run_watch import RunWatch

_POLL_SECONDS = 0.25
_STOP_SECONDS = 5.0
_LONGEST_RESTART_SECONDS = 60.0


class FeedProcess:
    """The process that feeds one backend: started, watched, started again after a crash, ended when it hangs."""

    def __init__(self, files: RunFiles, name: str, order: Mapping[str, Any], follow: bool) -> None:
        self.name = name
        self._files = files
        self._order = order
        self._follow = follow
        self._restarts = 0
        self._restart_at = 0.0
        self._seen: tuple[Any, ...] = ()
        self._moved_at = time.monotonic()
        self._process = self._start()

    @property
    def returncode(self) -> int | None:
        return self._process.poll()

    def seconds_without_progress(self, seq: int) -> float:
        """Return for how long nothing has arrived in the backend although the log went on to record `seq`."""
        progress = load_progress(self._files, self.name)
        seen = (progress.run_id, progress.sent, progress.seq, progress.closed, len(progress.left))
        if seen != self._seen or progress.sent >= seq:
            self._seen, self._moved_at = seen, time.monotonic()
        return time.monotonic() - self._moved_at

    def restart_after_crash(self) -> None:
        """Start again after a pause that doubles each time."""
        if self._restart_at == 0.0:
            self._restart_at = time.monotonic() + min(2.0**self._restarts, _LONGEST_RESTART_SECONDS)
        elif time.monotonic() >= self._restart_at:
            self._restarts, self._restart_at = self._restarts + 1, 0.0
            self._process = self._start()

    def stop(self, seconds: float = _STOP_SECONDS) -> None:
        """Ask the process to end, and end it and its children if it does not."""
        self._process.terminate()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            # The group holds what the backend has started, such as W&B's own process.
            kill_group(self._process.pid)
            self._process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tuning.trackers.feed", str(self._files.run_dir), self.name]
        return start_with_order(command + ["--follow"] * self._follow, self._order, self._files.sender_log)


class Sender:
    """Run one feed per backend until the run has ended and everything has arrived or nothing moves any more."""

    def __init__(
        self,
        files: RunFiles,
        follow: bool,
        options: Mapping[str, Any],
        patience: float,
        more_targets: Mapping[str, str] | None = None,
    ) -> None:
        self._files = files
        self._follow = follow
        self._patience = patience
        self.watch = RunWatch(files)
        self.watch.mark_if_killed()
        run = self.watch.run or {}
        self.targets: dict[str, str] = {**run.get("trackers", {}), **(more_targets or {})}
        self._options = {**run.get("tracking", {}), **options}
        self._attempt = self.watch.num_attempts

    def run(self) -> bool:
        """Send; True when everything has arrived."""
        if self.watch.is_complete(self.trackers):
            return True
        told_to_stop = when_told_to_stop() if self._follow else lambda: False
        feeds = [self._start(name) for name in self.trackers]
        try:
            while feeds and not self._is_superseded() and not told_to_stop():
                time.sleep(_POLL_SECONDS)
                self.watch.look()
                self.watch.mark_if_killed()
                feeds = [feed for feed in feeds if self._goes_on(feed)]
                self._write_links()
        finally:
            for feed in feeds:
                feed.stop()
        self._write_links()
        return self.watch.is_complete(self.trackers)

    @property
    def trackers(self) -> list[str]:
        return list(self.targets)

    def _is_superseded(self) -> bool:
        """Tell whether a newer attempt, which has a sender of its own, or another log has taken over."""
        return self.watch.replaced or self.watch.num_attempts != self._attempt

    def _write_links(self) -> None:
        if not self._is_superseded():
            # On a full disk the links come later; the feeds can go on.
            with contextlib.suppress(OSError):
                write_links(self._files, self.trackers)

    def _start(self, name: str) -> FeedProcess:
        order = {"backend": self.targets[name], "options": self._options}
        return FeedProcess(self._files, name, order, self._follow)

    def _goes_on(self, feed: FeedProcess) -> bool:
        if feed.returncode == 0 or (feed.returncode is not None and not self._follow):
            return False
        if self._has_ended():
            if feed.seconds_without_progress(self._all_records) > self._patience:
                feed.stop()
                return False
        elif feed.seconds_without_progress(self.watch.seq) > self._patience:
            feed.stop()
        if feed.returncode is not None:
            feed.restart_after_crash()
        return True

    def _has_ended(self) -> bool:
        return self.watch.end is not None or self.watch.is_abandoned or not self._follow

    # More than any record's number: after the end, a backend that has everything still has its run to close.
    _all_records = sys.maxsize
