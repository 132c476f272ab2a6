"""Feed one backend from a run's event log; each backend gets a process of its own, so that none holds up another."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tuning.trackers.backend import Backend, RunInfo, options_of
from tuning.trackers.datasets import datasets_in
from tuning.trackers.event_log import LogReader
from tuning.trackers.file_lock import file_lock
from tuning.trackers.processes import when_told_to_stop
from tuning.trackers.progress import load_progress, save_progress
from tuning.trackers.redaction import redact, redact_text
from tuning.trackers.replay import Delivery, Replay
from tuning.trackers.run_files import RunFiles, read_json, write_json
from tuning.trackers.tracker import Tracker
from tuning.trackers.tracker_backend import TrackerBackend

logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 30.0
_TRIES_OF_A_REPLAY = 3


class Feed:
    """Send what a backend has not had yet, and write down after each piece how far it got."""

    def __init__(
        self,
        files: RunFiles,
        name: str,
        new_backend: Callable[[], Backend],
        options: Mapping[str, Any],
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.name = name
        self.progress = load_progress(files, name)
        self._stopping = stopping
        self._files = files
        self._new_backend = new_backend
        self._options = options
        self._start_over()

    def run(self, follow: bool) -> bool:
        """Send until the log ends, or with `follow` until the run ends; True when everything has arrived."""
        while not self._stopping():
            if not self._persist(self._send_next, follow):
                break
            if not self._reader.at_end():
                continue
            if self._reader.replaced:
                break
            if self._replay.end is not None or not follow:
                return self._persist(self._end, follow) and not self.progress.left
            time.sleep(_POLL_SECONDS)
        self._release()
        return False

    def _start_over(self) -> None:
        """Read the log from its start; what is safe in the backend is passed over."""
        self._reader = LogReader(self._files.events)
        self._replay = Replay()
        self._backend: Backend | None = None

    def _send_next(self) -> None:
        delivery = self._replay.take(self._reader.read(), after=self.progress.seq)
        if delivery.num_records:
            is_safe = self._deliver(self._opened(), delivery)
            self._save(sent=self._replay.seq, **({"seq": self._replay.seq} if is_safe else {}))

    def _deliver(self, backend: Backend, delivery: Delivery) -> bool:
        self._send(lambda pairs: backend.params(dict(pairs)), list(delivery.params.items()))
        self._send(lambda datasets: [backend.dataset(one) for one in datasets], datasets_in(delivery.params))
        self._send(backend.metrics, delivery.points)
        is_safe = backend.flush()
        self._keep_long_params(delivery)
        self._send_artifacts(backend, [[str(item.path), item.name] for item in delivery.artifacts])
        return is_safe

    def _end(self) -> None:
        """Close the backend's run as the log says, unless that was done before and nothing came after."""
        end = self._replay.end
        if self.progress.left:
            self._send_artifacts(self._opened(), [])
        if end is not None and (self._backend is not None or self.progress.closed < end["seq"]):
            self._opened().close(end["state"], end.get("error"))
            self._backend = None
            self._save(seq=self._replay.seq, closed=end["seq"])
        self._release()

    def _opened(self) -> Backend:
        if self._backend is None:
            backend = self._new_backend()
            link = backend.open(self._run_info(), self.progress.run_id)
            self._save(**redact(link._asdict()))
            self._backend = backend
        return self._backend

    def _run_info(self) -> RunInfo:
        first = self._replay.first_run or {}
        return RunInfo(
            run_id=first.get("run_id", ""),
            name=first.get("name", ""),
            experiment=first.get("experiment", ""),
            run_dir=self._files.run_dir,
            time=first.get("time", 0.0),
            options=self._options,
        )

    def _send(self, send: Callable[[Any], Any], items: Sequence[Any]) -> None:
        """Send items; where the backend refuses some of them, find those and leave out no other."""
        if not items:
            return
        try:
            send(items)
        except (ValueError, TypeError) as error:
            # An answer that is no JSON, as from a proxy in trouble, is both a ValueError and an OSError.
            if isinstance(error, OSError):
                raise
            if len(items) == 1:
                self._refuse(items[0], error)
                return
            middle = len(items) // 2
            self._send(send, items[:middle])
            self._send(send, items[middle:])

    def _send_artifacts(self, backend: Backend, artifacts: list[list[str]]) -> None:
        """Send files; one that cannot be sent is kept for the next time and holds up nothing else."""
        left = []
        for artifact in [*self.progress.left, *artifacts]:
            path, name = artifact
            try:
                self._send_artifact(backend, Path(path), name)
            except Exception as error:
                logger.warning("%s: artifact %s: %s", self.name, path, error)
                self.progress.error = _first_line(error)
                left.append(artifact)
        self.progress.left = left

    def _send_artifact(self, backend: Backend, path: Path, name: str) -> None:
        if path.exists():
            backend.artifact(path, name)
        else:
            self._refuse(path, FileNotFoundError(f"{path} is gone"))

    def _keep_long_params(self, delivery: Delivery) -> None:
        """Add the full text of shortened params as an artifact of the run."""
        path = self._files.long_params
        wanted = self._replay.long_params
        if not wanted.keys() & delivery.params.keys():
            return
        if not read_json(path).items() >= wanted.items():
            write_json(path, wanted)
        self._send_artifacts(self._opened(), [[str(path), path.name]])

    def _refuse(self, item: Any, error: Exception) -> None:
        self.progress.refused += 1
        self.progress.error = _first_line(error)
        logger.warning("%s refuses %r: %s", self.name, item, error)

    def _persist(self, action: Callable[[], None], follow: bool) -> bool:
        """Run an action until it succeeds, after a failure with a new backend; False when given up."""
        pause, tries = 1.0, 0
        while not self._stopping():
            try:
                action()
                return True
            except Exception as error:
                logger.warning("%s: %s", self.name, error, exc_info=True)
                self._save(error=_first_line(error))
                self._start_over()
            tries += 1
            if not follow and tries == _TRIES_OF_A_REPLAY:
                return False
            self._sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        return False

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stopping() and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)

    def _release(self) -> None:
        backend, self._backend = self._backend, None
        if backend is not None:
            backend.release()
            self._save(seq=max(self.progress.seq, self.progress.sent))

    def _save(self, **changes: Any) -> None:
        for name, value in changes.items():
            setattr(self.progress, name, value)
        # A folder that was moved away is not made again: its name may soon be that of another run.
        if self._files.folder.is_dir():
            try:
                save_progress(self._files, self.name, self.progress)
            except OSError as error:
                # What is not written down here is sent again at worst, and that is harmless.
                logger.warning("%s: its progress cannot be written down: %s", self.name, error)


def main(argv: Sequence[str] | None = None) -> int:
    """Feed one backend; its class and options come as one line of JSON on standard input."""
    parser = argparse.ArgumentParser(prog="python -m tuning.trackers.feed")
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("tracker")
    parser.add_argument("--follow", action="store_true")
    args = parser.parse_args(argv)
    _log_without_secrets()
    order = json.loads(sys.stdin.readline())
    files = RunFiles(args.run_dir)
    told_to_stop, sender = when_told_to_stop(), os.getppid()
    with file_lock(files.delivery_lock(args.tracker)):
        feed = Feed(
            files,
            args.tracker,
            lambda: new_backend(order["backend"], args.tracker),
            options_of(args.tracker, order["options"]),
            stopping=lambda: told_to_stop() or os.getppid() != sender,
        )
        return 0 if feed.run(args.follow) else 1


def new_backend(target: str, name: str) -> Backend:
    """Import the class that `module:Class` names, and make a backend of it or, of a tracker, around it."""
    module, _, attribute = target.partition(":")
    found: Any = importlib.import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return TrackerBackend(found, name) if issubclass(found, Tracker) else found()


def _first_line(error: BaseException) -> str:
    lines = redact_text(str(error)).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}"[:300] if lines else type(error).__name__


class _WithoutSecrets(logging.Formatter):
    """Take secrets out of messages and tracebacks: a client names the address it cannot reach, password and all."""

    def format(self, record: logging.LogRecord) -> str:
        return redact_text(super().format(record))


def _log_without_secrets() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_WithoutSecrets("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    # The vendors' threads and exit hooks can hang for ever, and everything worth keeping has arrived or is in the log.
    os._exit(code)
