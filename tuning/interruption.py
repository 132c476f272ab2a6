"""Stop a run on request: a signal ends it at the next safe point, with a checkpoint from which it goes on."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

from tuning.errors import Preempted

logger = logging.getLogger(__name__)

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))

_ENDING = (signal.SIGTERM, signal.SIGINT)


@dataclass
class StopRequest:
    """What the signals of one run have asked for.

    `is_training` means that a signal waits for the end of a step, or until the model is saved.
    """

    signum: int | None = None
    is_training: bool = False
    when: str = "before the first step; run the same command again"
    """How the run is told to have ended where a signal ends it at once."""
    stopped_at: int | None = None
    """Step after which the training stopped, with a checkpoint."""

    def __str__(self) -> str:
        return signal.Signals(self.signum).name if self.signum is not None else "another process"

    def receive(self, signum: int, frame: FrameType | None) -> None:
        """Note a signal. Before training and after it there is nothing to save, so the run ends at once.

        Raises:
            Preempted: there is nothing to wait for.
        """
        self.signum = signum
        with contextlib.suppress(RuntimeError):  # the signal may have come in the middle of another line
            logger.warning("%s was received", self)
        if not self.is_training:
            raise Preempted(f"stopped by {self} {self.when}")

    @contextlib.contextmanager
    def ending_at_once(self, when: str) -> Iterator[None]:
        """Let a signal end the run at once, told of with these words; one that has waited ends it now.

        Raises:
            Preempted: a signal came, or one has waited.
        """
        self.is_training, self.when = False, when
        try:
            if self.signum is not None:
                raise Preempted(f"stopped by {self} {when}")
            yield
        finally:
            self.is_training = True  # how the run ended is written down whole

    def raise_if_stopped(self) -> None:
        """End the run as stopped, where it was.

        Raises:
            Preempted: the training was stopped before its last step.
        """
        if self.stopped_at is not None:
            where = f"stopped by {self} after step {self.stopped_at}, with a checkpoint"
            raise Preempted(f"{where}; run the same command again to go on")


@contextlib.contextmanager
def stop_on_request() -> Iterator[StopRequest]:
    """Listen to SIGTERM, SIGINT and SIGUSR1 while a run goes on; a second signal acts as if nobody listened.

    A SIGTERM after SIGUSR1, which schedulers send ahead of it as a warning, is a first one, too.

    Python delivers signals to the main thread alone, so in any other thread this listens to nothing.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}

    def receive(signum: int, frame: FrameType | None) -> None:
        for each in {signum, *(_ENDING if signum in _ENDING else ())}:
            signal.signal(each, before[each])
        request.receive(signum, frame)

    for signum in SIGNALS:
        signal.signal(signum, receive)
    try:
        yield request
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
