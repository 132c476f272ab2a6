"""The tracker that writes a run's event log and has a sender carry it to the backends."""

from __future__ import annotations

import functools
import logging
import os
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from tuning.trackers.event_log import EventLog, Record, number_to_json, read_records
from tuning.trackers.file_lock import file_lock
from tuning.trackers.params import clean_key
from tuning.trackers.plain_values import to_number, to_plain
from tuning.trackers.processes import started_at
from tuning.trackers.progress import Progress, incomplete, write_links
from tuning.trackers.redaction import redact, redact_text
from tuning.trackers.replay import ENDED
from tuning.trackers.run_files import RunFiles
from tuning.trackers.sync import PATIENCE_SECONDS, start_sender
from tuning.trackers.system_metrics import SystemMetrics, peak_memory
from tuning.trackers.tracker import Tracker

logger = logging.getLogger(__name__)

FINISH_TIMEOUT_SECONDS = 30.0
_POLL_SECONDS = 0.05
_RESERVE_BYTES = 1 << 20
"""Room for some 2000 steps of ten numbers on a disk that is full."""

Method = TypeVar("Method", bound=Callable[..., Any])


def _never_raises(method: Method) -> Method:
    """Turn an error of a tracking call into one warning: the training goes on without this record."""

    @functools.wraps(method)
    def call(self: EventLogTracker, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(self, *args, **kwargs)
        except Exception as error:
            self.warn_once(method.__name__, f"Tracking: {method.__name__} failed, training goes on: {error!r}")
            return None

    return cast(Method, call)


class EventLogTracker(Tracker):
    """Append everything to the run's event log; a sender process beside the training feeds the backends from it.

    A run folder that holds a log already is resumed: the run goes on under its id and name.
    """

    def __init__(
        self,
        name: str | None = None,
        tracker_config: Mapping[str, Any] | None = None,
        *,
        run_dir: Path,
        targets: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(name, tracker_config)
        self.global_step = 0
        self.epoch: float | None = None
        self.files = RunFiles(Path(run_dir).resolve())
        self._targets = dict(targets or {})
        self._names: dict[str, str] = {}
        self._warned: set[str] = set()
        self._end: int | None = None
        self._finishing = threading.Lock()
        with file_lock(self.files.events_lock):
            self._log = EventLog(self.files.events, _RESERVE_BYTES)
        self._began = time.time()
        self._last = self._start_run()
        self._sender = self._start_sender() if self._targets else None
        self._system_metrics = self._start_system_metrics()

    def get_hf_callback(self) -> Any:
        """Return the one callback that feeds every backend."""
        from tuning.trackers.tracker_callback import TrackerCallback

        return TrackerCallback(self)

    @_never_raises
    def track(
        self,
        metric: float | Mapping[str, float],
        name: str | None = None,
        stage: str | None = None,
        *,
        step: int | None = None,
    ) -> None:
        """Append one number or a mapping of numbers; anything that is no number is left out with a warning."""
        metrics = metric if isinstance(metric, Mapping) else {name or "metric": metric}
        values = {}
        for key, value in metrics.items():
            number = to_number(value)
            if number is None:
                self.warn_once(f"metric {key}", f"Tracking: metric '{key}' is no number and is left out: {value!r:.80}")
            else:
                values[self._metric_name(str(key), stage)] = number_to_json(number)
        if values:
            where = {"step": self.global_step if step is None else int(step), "epoch": self.epoch}
            self._append("metrics", **where, values=values)

    @_never_raises
    def set_params(self, params: Any, name: str | None = "params") -> None:
        """Append params as they stand now, without their secrets."""
        values = redact({name or "": to_plain(params)})[name or ""]
        self._append("params", name=name, values=values)

    @_never_raises
    def log_artifact(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        """Append a reference to a file or folder; it is read when it is sent, so it has to stay."""
        full = Path(path).absolute()
        self._append("artifact", path=str(full), name=redact_text(name or full.name))

    @_never_raises
    def log_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Append where a checkpoint stands and make everything recorded until now outlast a power cut."""
        self._append("checkpoint", path=str(Path(path).absolute()), step=self.global_step)
        self._log.sync()

    @_never_raises
    def finish(self, status: str = "finished", error: str | BaseException | None = None) -> None:
        """Append the final state and wait for the backends, at most `finish_timeout` seconds."""
        with self._finishing:
            if self._end is not None:
                return
            self._stop_system_metrics()
            state = status if status in ENDED else "failed"
            self._end = self._append("state", state=state, error=_first_line(error), dropped=self._log.dropped)
        self._log.sync()
        missing = self._wait()
        self._log.close()
        write_links(self.files, self._targets)
        self._report(missing)

    def warn_once(self, about: str, message: str) -> None:
        """Log a warning the first time that it is about something."""
        if about not in self._warned:
            self._warned.add(about)
            logger.warning("%s", message)

    def _append(self, kind: str, **fields: Any) -> int:
        if self._end is not None:
            self.warn_once("late", f"Tracking: recorded after finish(); {_hint(self.files)}")
        self._last = self._log.append(kind, **fields)
        return self._last

    def _start_run(self) -> int:
        with file_lock(self.files.events_lock):
            first = _first_run(self.files.events)
            self._began = self._began if first is None else float(first["time"])
            return self._log.append(
                "run",
                **(_identity(self.config) if first is None else _same_run(first)),
                **_process(),
                trackers=self._targets,
                tracking=redact(to_plain(self.config)),
            )

    def _metric_name(self, name: str, stage: str | None) -> str:
        full = f"{stage}/{name}" if stage else name
        if full not in self._names:
            self._names[full] = clean_key(full)
        return self._names[full]

    @_never_raises
    def _start_system_metrics(self) -> SystemMetrics | None:
        interval = float(self.config.get("system_metrics_interval") or 0)
        if interval <= 0:
            return None
        return SystemMetrics(lambda values, second: self.track(values, step=second), interval, self._began)

    @_never_raises
    def _stop_system_metrics(self) -> None:
        if self._system_metrics is not None:
            self._system_metrics.stop()
            self.track(peak_memory())

    @_never_raises
    def _start_sender(self) -> subprocess.Popen[bytes]:
        patience = float(self.config.get("sender_patience") or PATIENCE_SECONDS)
        sender = start_sender(self.files, to_plain(self.config), patience)
        # Waiting for it in a thread keeps an ended sender from staying behind as a zombie.
        threading.Thread(target=sender.wait, name="tracking-sender", daemon=True).start()
        return sender

    def _wait(self) -> dict[str, Progress]:
        timeout = self.config.get("finish_timeout")
        until = time.monotonic() + (FINISH_TIMEOUT_SECONDS if timeout is None else float(timeout))
        end = self._end or 0
        while missing := incomplete(self.files, self._targets, self._last, end):
            self._log.flush()
            if time.monotonic() >= until or self._sender is None or self._sender.poll() is not None:
                return incomplete(self.files, self._targets, self._last, end)
            time.sleep(_POLL_SECONDS)
        return missing

    def _report(self, missing: Mapping[str, Progress]) -> None:
        if self._log.dropped:
            logger.warning("Tracking: %d records could not be written to %s", self._log.dropped, self.files.events)
        if self._log.num_waiting > self._log.dropped:
            logger.warning(
                "Tracking: the disk of %s is full; make room, then: %s", self.files.folder, _hint(self.files)
            )
        if not missing:
            return
        trouble = "; ".join(
            f"{name}: {one.seq} of {self._last} records{_because(one)}" for name, one in missing.items()
        )
        logger.warning("Tracking: not everything has arrived yet (%s). Nothing is lost; %s", trouble, _hint(self.files))


def _first_run(events: Path) -> Record | None:
    return next((record for record in read_records(events) if record.get("type") == "run"), None)


def _identity(config: Mapping[str, Any]) -> dict[str, Any]:
    run_id = uuid.uuid4().hex
    experiment = redact_text(str(config.get("experiment") or "default"))
    made_up = f"{experiment}-{time.strftime('%Y%m%d-%H%M%S')}-{run_id[:4]}"
    return {"run_id": run_id, "name": redact_text(str(config.get("run_name") or made_up)), "experiment": experiment}


def _same_run(first: Record) -> dict[str, Any]:
    return {key: first.get(key) for key in ("run_id", "name", "experiment")}


def _process() -> dict[str, Any]:
    return {"pid": os.getpid(), "pid_started": started_at(os.getpid()), "host": socket.gethostname()}


def _first_line(error: str | BaseException | None) -> str | None:
    if error is None:
        return None
    kind = f"{type(error).__name__}: " if isinstance(error, BaseException) else ""
    return redact_text(kind + next(iter(str(error).strip().splitlines()), ""))[:500]


def _because(progress: Progress) -> str:
    return f", {progress.error}" if progress.error else ""


def _hint(files: RunFiles) -> str:
    return f"send the rest with: tune sync {files.run_dir}"
