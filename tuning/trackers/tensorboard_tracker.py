"""TensorBoard: event files in a folder of this machine."""

from __future__ import annotations

import json
import os
import shlex
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from tuning.errors import Problem
from tuning.trackers.backend import Backend, Link, Point, RunInfo
from tuning.trackers.params import Scalar, clean_key
from tuning.trackers.run_files import read_json, write_json

SESSION_FILE = "session.json"
# Every tool reads the files of a folder in the order of their names; this one comes first.
_SESSION_EVENTS = "events.out.tfevents.0000000000.session"
_FILE_VERSION = "brain.Event:2"
# A double holds every whole number up to this one.
_LARGEST_EXACT = 2**53


class TensorboardBackend(Backend):
    """Write a run's event files: one that grows for each session, and one with params and state that is replaced."""

    package = "tensorboard"
    extra = "tensorboard"

    @staticmethod
    def problems(options: Mapping[str, Any]) -> list[Problem]:
        """Refuse a file where a folder is needed."""
        folder = options.get("tensorboard_dir")
        if folder is None or not Path(folder).is_file():
            return []
        return [Problem("tracking.tensorboard_dir", "expected a folder, not a file", value=folder)]

    def open(self, run: RunInfo, saved_id: str | None) -> Link:
        """Begin a file of the run; TensorBoard puts the files of one folder together."""
        from tensorboard.summary.writer.record_writer import RecordWriter

        root = Path(run.options.get("tensorboard_dir") or run.folder / "tensorboard")
        name = saved_id or f"{clean_key(run.experiment)}/{clean_key(run.name)}-{run.run_id[:6]}"
        self._run = run
        self._folder = root / name
        self._folder.mkdir(parents=True, exist_ok=True)
        self._stored = {(point.name, point.step) for point in read_points(self._folder)}
        self._session = {"params": {}, "artifacts": {}, **read_json(self._folder / SESSION_FILE)}
        self._file = _new_file(self._folder)
        self._records = RecordWriter(self._file)
        self._records.write(_event(run.time, file_version=_FILE_VERSION))
        self._keep(run_dir=str(run.run_dir), state="running", error=None)
        return Link(name, None, f"tensorboard --logdir {shlex.quote(str(root))}")

    def params(self, flat: Mapping[str, Scalar]) -> None:
        """Add params to the hyperparameters and, in full, to the texts."""
        self._keep(params=self._session["params"] | flat)

    def metrics(self, batch: Sequence[Point]) -> None:
        """Add points with the time they were recorded at, leaving out those that the folder has."""
        from tensorboard.plugins.scalar.summary_v2 import scalar_pb

        for point in batch:
            if (point.name, point.step) not in self._stored:
                # Single precision: TensorBoard's fast reader passes over every double.
                summary = scalar_pb(point.name, point.value)
                self._records.write(_event(point.time, point.step, summary=summary))
                self._stored.add((point.name, point.step))

    def artifact(self, path: Path, name: str) -> None:
        """List where a file or folder stands; TensorBoard keeps no files."""
        self._keep(artifacts=self._session["artifacts"] | {name: str(path)})

    def flush(self) -> bool:
        """Hand everything over to the operating system."""
        self._records.flush()
        return True

    def close(self, status: str, error: str | None) -> None:
        """Set the state and end the session."""
        self._keep(state=status, error=error)
        self.release()

    def release(self) -> None:
        """Close the file."""
        self._records.close()

    def _keep(self, **changes: Any) -> None:
        """Change what is known beside the series, and write the files that tell it anew."""
        self._session |= changes
        draft = self._folder / f".draft.{os.getpid()}"
        with draft.open("wb") as file:
            _write_session(file, self._run, self._session)
        draft.replace(self._folder / _SESSION_EVENTS)
        write_json(self._folder / SESSION_FILE, self._session)


def read_points(folder: Path) -> Iterator[Point]:
    """Yield the points that a run's folder holds; a file that was cut short is read up to there."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util.tensor_util import make_ndarray

    for file in sorted(folder.glob("events.out.tfevents.*")):
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name in ("", "scalars"):
                    yield Point(value.tag, make_ndarray(value.tensor).item(), event.step, None, event.wall_time)


def _new_file(folder: Path) -> BinaryIO:
    now = time.time_ns()
    return (folder / f"events.out.tfevents.{now // 10**9}.{now % 10**9}.{socket.gethostname()}.{os.getpid()}").open(
        "xb"
    )


def _write_session(file: BinaryIO, run: RunInfo, session: Mapping[str, Any]) -> None:
    from tensorboard.plugins.hparams.summary_v2 import hparams_pb
    from tensorboard.plugins.text.summary_v2 import text_pb
    from tensorboard.summary.writer.record_writer import RecordWriter

    records = RecordWriter(file)
    records.write(_event(run.time, file_version=_FILE_VERSION))
    hparams = {key: _hparam(value) for key, value in session["params"].items()}
    records.write(_event(run.time, summary=hparams_pb(hparams, trial_id=run.run_id, start_time_secs=run.time)))
    for tag, text in _texts(session).items():
        records.write(_event(run.time, summary=text_pb(tag, text)))
    if session["state"] != "running":
        records.write(_event(run.time, summary=_session_end(session["state"])))
    records.flush()


def _texts(session: Mapping[str, Any]) -> dict[str, str]:
    """Lay out what is no series as pages of text, params by the first part of their names."""
    texts = {name: str(session[name]) for name in ("state", "error", "run_dir") if session.get(name)}
    pages: dict[str, list[str]] = {}
    for key, value in session["params"].items():
        pages.setdefault(f"params/{key.partition('.')[0]}", []).append(f"    {key} = {json.dumps(value)}")
    if session["artifacts"]:
        pages["artifacts"] = [f"    {name} = {path}" for name, path in session["artifacts"].items()]
    return texts | {tag: "\n".join(lines) for tag, lines in pages.items()}


def _hparam(value: Scalar) -> str | float | bool:
    """Fit a value to TensorBoard's table, which has numbers, truth values and text."""
    if value is None or (isinstance(value, int) and abs(value) > _LARGEST_EXACT):
        return str(value)
    return value


def _session_end(state: str) -> Any:
    from tensorboard.compat.proto import summary_pb2
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    # The classes of these modules are made when they are imported.
    summaries: Any = summary_pb2
    statuses: Any = api_pb2
    plugin: Any = plugin_data_pb2
    status = statuses.STATUS_SUCCESS if state == "finished" else statuses.STATUS_FAILURE
    content = plugin.HParamsPluginData(session_end_info=plugin.SessionEndInfo(status=status))
    about = metadata.create_summary_metadata(content)
    value = summaries.Summary.Value(tag=metadata.SESSION_END_INFO_TAG, metadata=about, tensor=metadata.NULL_TENSOR)
    return summaries.Summary(value=[value])


def _event(moment: float, step: int = 0, **content: Any) -> bytes:
    from tensorboard.compat.proto import event_pb2

    events: Any = event_pb2
    return events.Event(wall_time=moment, step=step, **content).SerializeToString()
