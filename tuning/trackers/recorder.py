"""Find out what takes a while off the training thread, and record it when it is known."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from tuning.trackers.tracker import Tracker

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.02
_NICEST = 19
"""The priority that yields to every other thread."""

Task = tuple[str, Callable[[], Any]]


class Recorder:
    """Answer one question after another on a thread of low priority; each answer becomes params of the run."""

    def __init__(self, tracker: Tracker, enabled: bool = True) -> None:
        self._tracker = tracker
        self._enabled = enabled
        self._tasks: queue.Queue[Task] = queue.Queue()
        self._open: list[str] = []
        self._thread: threading.Thread | None = None

    def record(self, name: str, find: Callable[[], Any]) -> None:
        """Have `find` called soon, and its answer recorded as the params called `name`."""
        if not self._enabled:
            return
        self._open.append(name)
        self._tasks.put((name, find))
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="tracking-recorder", daemon=True)
            self._thread.start()

    def finish(self, seconds: float) -> None:
        """Wait a bounded time for the answers that are still out; says which are not recorded then."""
        until = time.monotonic() + seconds
        while self._open and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
        if self._open:
            logger.warning("Tracking: not known when the run ended, and not recorded: %s", ", ".join(self._open))
        self._enabled = False

    def _run(self) -> None:
        with contextlib.suppress(OSError, AttributeError):
            # On Linux this is the priority of the thread alone; elsewhere the call names no process and fails.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICEST)
        while True:
            name, find = self._tasks.get()
            try:
                answer = find()
                if self._enabled:
                    self._tracker.set_params(answer, name=name)
            except Exception as error:
                logger.warning("Tracking: %s is not recorded: %s: %s", name, type(error).__name__, error)
            self._open.remove(name)
