"""Watch a run from outside of it: pass signals on, and start it again where one of its processes died."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tuning.errors import EXIT_INTERNAL_ERROR, EXIT_PREEMPTED, EXIT_SUCCESS
from tuning.interruption import SIGNALS
from tuning.launch.ranks import Ending, Ranks

logger = logging.getLogger("tuning")

_LONGEST_PAUSE = 60.0
"""Seconds; the pause before a restart doubles up to it, beginning with one second."""
_LOOK_SECONDS = 0.1
_MOST_SECONDS_AFTER_RANKS = 60.0
"""Longest wait for a launcher whose processes are all gone. torch's own waits 30 s before it kills."""


def supervise(command: Callable[[int, Path], Sequence[str]], folder: Path, num_ranks: int, max_restarts: int) -> int:
    """Run a command until it ends well, or may not be started again; returns the exit code of the last attempt.

    `command` makes the words of an attempt, counted from 0, whose processes leave in a folder how they end. `num_ranks`
    of them are on this machine. A death or a fault is followed by another attempt; wrong input and a stop on request
    are not.
    """
    with _received_signals() as received:
        for attempt in range(max_restarts + 1):
            ranks = Ranks(folder / f"attempt-{attempt}", num_ranks)
            ranks.folder.mkdir()
            ending = _attempt(command(attempt, ranks.folder), ranks, received)
            if ending.code != EXIT_INTERNAL_ERROR or received or attempt == max_restarts:
                break
            pause = min(2.0**attempt, _LONGEST_PAUSE)
            logger.warning("%s; restart %d of %d in %g s", ending.cause, attempt + 1, max_restarts, pause)
            if _is_stopped_within(pause, received):
                return EXIT_PREEMPTED
    if ending.code not in (EXIT_SUCCESS, EXIT_PREEMPTED) and not (ending.was_told and max_restarts == 0):
        logger.warning("%s; it is not started again", ending.cause)
    return ending.code


def _attempt(words: Sequence[str], ranks: Ranks, received: list[int]) -> Ending:
    """Run the command once, in a session of its own: a terminal's Ctrl-C reaches this process alone."""
    process = subprocess.Popen(words, start_new_session=True)
    passed_on: dict[int, int] = {}
    try:
        while process.poll() is None:
            _pass_on(received, ranks, passed_on)
            time.sleep(_LOOK_SECONDS)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    return ranks.ending(process.returncode, was_stopped=bool(received))


def _pass_on(received: Sequence[int], ranks: Ranks, passed_on: dict[int, int]) -> None:
    """Send each process what came since the last look.

    The launcher gets none: it would give its processes 30 seconds, and a checkpoint may take longer.
    """
    for process_id in ranks.ids().values() if received else ():
        for signum in received[passed_on.get(process_id, 0) :]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process_id, signum)
        passed_on[process_id] = len(received)


def _is_stopped_within(seconds: float, received: Sequence[int]) -> bool:
    until = time.monotonic() + seconds
    while not received and time.monotonic() < until:
        time.sleep(_LOOK_SECONDS)
    return bool(received)


@contextlib.contextmanager
def _received_signals() -> Iterator[list[int]]:
    """List the signals that ask for a stop, in the order in which they come."""
    received: list[int] = []
    before = {signum: signal.signal(signum, lambda number, frame: received.append(number)) for signum in SIGNALS}
    try:
        yield received
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
