"""Stop a run on request: a signal ends it at the next safe point, with a checkpoint from which it goes on."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

from tuning.errors import Preempted

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))


@dataclass
class StopRequest:
    """What the signals of one run have asked for; `is_training` means that a checkpoint can be saved first."""

    signum: int | None = None
    is_training: bool = False
    stopped_at: int | None = None
    """Step after which the training stopped, with a checkpoint."""

    def __str__(self) -> str:
        return signal.Signals(self.signum).name if self.signum is not None else "another process"

    def receive(self, signum: int, frame: FrameType | None) -> None:
        """Note a signal. Before training there is nothing to save, so the run ends at once.

        Raises:
            Preempted: the training has not started.
        """
        self.signum = signum
        if not self.is_training:
            raise Preempted(f"stopped by {self} before the first step; run the same command again")

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

    Python delivers signals to the main thread alone, so in any other thread this listens to nothing.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}

    def receive(signum: int, frame: FrameType | None) -> None:
        signal.signal(signum, before[signum])
        request.receive(signum, frame)

    for signum in SIGNALS:
        signal.signal(signum, receive)
    try:
        yield request
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
