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

from tuning.console import leave_cause
from tuning.errors import EXIT_INTERNAL_ERROR, EXIT_PREEMPTED, EXIT_SUCCESS
from tuning.interruption import SIGNALS
from tuning.launch.ranks import Ending, Ranks

logger = logging.getLogger("tuning")

_LONGEST_PAUSE = 60.0
"""Seconds; the pause before a restart doubles up to it, beginning with one second."""
_LOOK_SECONDS = 0.1
_MOST_SECONDS_AFTER_RANKS = 360.0
"""Longest wait for a launcher whose processes are all gone. Source: torch's own waits up to 300 s for the launchers of
the other machines (`exit_barrier_timeout`), and 30 s before it kills."""


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
                leave_cause("stopped on request before a restart; run the same command again to go on")
                return EXIT_PREEMPTED
    _tell(ending, attempt, max_restarts)
    return ending.code


def _tell(ending: Ending, attempt: int, max_restarts: int) -> None:
    """Say how the last attempt ended where no process of it has; after a success no earlier cause stays."""
    if ending.code == EXIT_SUCCESS and attempt:
        leave_cause("")
    if ending.code in (EXIT_SUCCESS, EXIT_PREEMPTED):
        return
    if not ending.was_told:
        leave_cause(ending.cause)
    if not (ending.was_told and max_restarts == 0):
        logger.warning("%s; it is not started again", ending.cause)


def _attempt(words: Sequence[str], ranks: Ranks, received: list[int]) -> Ending:
    """Run the command once, in a session of its own: a terminal's Ctrl-C reaches this process alone."""
    passed_on: dict[int, int] = {}
    with ranks.watched():
        process = subprocess.Popen(words, start_new_session=True)
        try:
            last_seen = time.monotonic()
            while process.poll() is None and time.monotonic() - last_seen < _MOST_SECONDS_AFTER_RANKS:
                _pass_on(received, ranks, passed_on)
                if ranks.running() or len(ranks.ids()) < ranks.count:
                    last_seen = time.monotonic()
                time.sleep(_LOOK_SECONDS)
        finally:
            _kill(process, ranks)
    return ranks.ending(process.returncode, was_stopped=bool(received))


def _kill(launcher: subprocess.Popen[bytes], ranks: Ranks) -> None:
    """Leave nothing of an attempt running: another one would train beside it, in the same folder.

    torch starts each process of a run in a session of its own, which outlives a launcher that was killed.
    """
    if launcher.poll() is None:
        os.killpg(launcher.pid, signal.SIGKILL)
        launcher.wait()
    for process_id in ranks.running().values():
        with contextlib.suppress(OSError):
            os.kill(process_id, signal.SIGKILL)


def _pass_on(received: Sequence[int], ranks: Ranks, passed_on: dict[int, int]) -> None:
    """Send each process what came since the last look.

    The launcher gets none: it would give its processes 30 seconds, and a checkpoint may take longer.
    """
    for process_id in ranks.running().values() if received else ():
        for signum in received[passed_on.get(process_id, 0) :]:
            with contextlib.suppress(OSError):
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
