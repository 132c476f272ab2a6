"""Stop a run on request: a signal ends it at the next safe point, with a checkpoint from which it goes on."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from tuning.errors import EXIT_PREEMPTED, Preempted
from tuning.termination_log import write_termination_log

logger = logging.getLogger(__name__)

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))

_ENDING = (signal.SIGTERM, signal.SIGINT)
_NOT_YET = "before the first step; run the same command again"
_SAME_REQUEST_SECONDS = 2.0
"""The supervisor passes a signal on within 0.1 s, or later on a busy machine; a person who presses Ctrl-C twice within
this time has to press it again, which costs less than a checkpoint."""


@dataclass
class StopRequest:
    """What the signals of one run have asked for.

    `waits` means that a signal is only noted: for the end of a step, or until something is written down whole.
    """

    signum: int | None = None
    waits: bool = False
    when: str = _NOT_YET
    """How the run is told to have ended where a signal ends it at once."""
    stopped_at: int | None = None
    """Step after which the training stopped, with a checkpoint."""

    def __str__(self) -> str:
        return signal.Signals(self.signum).name if self.signum is not None else "another process"

    def receive(self, signum: int) -> None:
        """Note a signal, and end the run at once where nothing has to be saved first.

        Raises:
            Preempted: there is nothing to wait for.
        """
        self.signum = signum
        with contextlib.suppress(RuntimeError):  # the signal may have come in the middle of another line
            logger.warning("%s was received", self)
        if not self.waits:
            self.raise_if_asked()

    def raise_if_asked(self) -> None:
        """End the run where a signal has asked for it; Python loses what is raised while it frees an object.

        Raises:
            Preempted: a signal came.
        """
        if self.signum is not None:
            self.waits = True  # how the run ended is written down whole, whatever signal comes next
            raise Preempted(f"stopped by {self} {self.when}")

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let a signal wait until the block is done, and end the run then.

        Raises:
            Preempted: a signal came.
        """
        self.waits = True
        yield
        self.waits = False
        self.raise_if_asked()

    @contextlib.contextmanager
    def ending_at_once(self, when: str) -> Iterator[None]:
        """Let a signal end the run at once, told of with these words; one that has waited ends it now.

        Raises:
            Preempted: a signal came, or one has waited.
        """
        self.waits, self.when = False, when
        try:
            self.raise_if_asked()
            yield
        finally:
            self.waits = True

    def raise_if_stopped(self) -> None:
        """End the run as stopped, where it was.

        Raises:
            Preempted: the training was stopped before its last step.
        """
        if self.stopped_at is not None:
            where = f"stopped by {self} after step {self.stopped_at}, with a checkpoint"
            raise Preempted(f"{where}; run the same command again to go on")


@dataclass
class _Listener:
    """What receives the signals of this process, for the run that goes on now."""

    before: Mapping[int, Any]
    request: StopRequest = field(default_factory=StopRequest)
    process_id: int = field(default_factory=os.getpid)
    received: dict[int, float] = field(default_factory=dict)
    """Signal -> when it came first, in seconds of the monotonic clock."""

    def receive(self, signum: int, frame: FrameType | None) -> None:
        now, alike = time.monotonic(), _ENDING if signum in _ENDING else (signum,)
        is_soon = now - self.received.get(signum, -math.inf) < _SAME_REQUEST_SECONDS
        if is_soon and os.getpid() == self.process_id:  # a forked worker is ended by whoever started it
            return
        if self.received.keys().isdisjoint(alike):
            self.received[signum] = now
            self.request.receive(signum)
            return
        for each in alike:
            signal.signal(each, self.before[each])
        signal.raise_signal(signum)


@contextlib.contextmanager
def stop_on_request() -> Iterator[StopRequest]:
    """Listen to SIGTERM, SIGINT and SIGUSR1 while a run goes on; a second signal acts as if nobody listened.

    The same signal again at once is the same request: one that is sent to all processes of a job comes directly, and
    is passed on by the supervisor, too.

    A SIGTERM after SIGUSR1, which schedulers send ahead of it as a warning, is a first one, too. A command listens from
    its start on, and the run in it takes the signals over.

    Python delivers signals to the main thread alone, so in any other thread this listens to nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield StopRequest()
        return
    outer = _listener()
    if outer is not None:
        with _taken_over(outer) as request:
            yield request
        return
    listener = _Listener({signum: _handler_before(signum) for signum in SIGNALS})
    for signum in SIGNALS:
        signal.signal(signum, listener.receive)
    try:
        yield listener.request
    finally:
        for signum, handler in listener.before.items():
            signal.signal(signum, handler)


@contextlib.contextmanager
def _taken_over(listener: _Listener) -> Iterator[StopRequest]:
    outer, listener.request = listener.request, StopRequest(listener.request.signum)
    try:
        yield listener.request
    finally:
        outer.signum, listener.request = listener.request.signum, outer


def _listener() -> _Listener | None:
    handlers = [getattr(signal.getsignal(signum), "__self__", None) for signum in SIGNALS]
    return next((handler for handler in handlers if isinstance(handler, _Listener)), None)


def _handler_before(signum: int) -> Any:
    handler = signal.getsignal(signum)
    if handler is not _exit_at_once:
        return handler
    return signal.default_int_handler if signum == signal.SIGINT else signal.SIG_DFL


def exit_on_request() -> None:
    """Let a signal end the process with 75 before its work has begun: nothing is there to be saved or closed."""
    for signum in SIGNALS:
        signal.signal(signum, _exit_at_once)


def _exit_at_once(signum: int, frame: FrameType | None) -> None:
    # Nothing may be raised here: modules are being imported, and nobody is there yet to tell of it.
    message = f"stopped by {signal.Signals(signum).name} {_NOT_YET}"
    with contextlib.suppress(OSError):
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"{message}\n".encode())
        write_termination_log(message)
    os._exit(EXIT_PREEMPTED)


def take_no_more_signals() -> None:
    """Let the process end with the exit code that its work had; Python may take a while to shut down."""
    for signum in SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
