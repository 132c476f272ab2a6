"""Weights & Biases: offline on this machine unless the user asks for its servers."""

from __future__ import annotations

import os
import re
import shlex
import time
import uuid
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from tuning.errors import Problem
from tuning.trackers.backend import Backend, Dataset, Link, Point, RunInfo
from tuning.trackers.params import Scalar, nest
from tuning.trackers.system_metrics import PREFIX
from tuning.trackers.wandb_log import TransactionLog

STEP = "train/global_step"
SECOND = "system/second"
_MODES = ("offline", "online")
_FLUSH_SECONDS = 15.0
# Names that would bind this run to another one, or reach W&B past the options of the run.
_FOREIGN = (
    "WANDB_RUN_ID",
    "WANDB_RESUME",
    "WANDB_MODE",
    "WANDB_NAME",
    "WANDB_RUN_GROUP",
    "WANDB_SWEEP_ID",
    "WANDB_SERVICE",
)


class WandbBackend(Backend):
    """Send a run to Weights & Biases."""

    package = "wandb"
    extra = "wandb"

    @staticmethod
    def problems(options: Mapping[str, Any]) -> list[Problem]:
        """Refuse an unknown mode."""
        mode = options.get("wandb_mode")
        if mode is None or mode in _MODES:
            return []
        return [Problem("tracking.wandb_mode", "expected offline or online", value=mode)]

    def open(self, run: RunInfo, saved_id: str | None) -> Link:
        """Begin a session of the run; W&B puts the sessions of one id together."""
        os.environ.update(WANDB_SILENT="true", WANDB_ERROR_REPORTING="false")
        for name in _FOREIGN:
            os.environ.pop(name, None)
        import wandb

        folder = Path(run.options.get("wandb_dir") or run.folder)
        _check_writable(folder / "wandb")
        # Copies of artifacts wait there until `wandb sync`; W&B itself would put them into the home folder.
        os.environ.setdefault("WANDB_DATA_DIR", str(folder / "wandb" / "data"))
        run_id = saved_id or run.run_id[:16]
        self._is_online = run.options.get("wandb_mode") == "online"
        self._run = wandb.init(
            project=str(run.options.get("wandb_project") or run.experiment),
            entity=run.options.get("wandb_entity"),
            name=run.name,
            id=run_id,
            resume="allow",
            mode="online" if self._is_online else "offline",
            dir=str(folder),
            settings=_settings(run.options),
        )
        self._stored = _stored_points(folder, run_id, self._run if self._is_online else None)
        self._log = TransactionLog(Path(self._run.settings.sync_file))
        self._num_rows = self._num_stored = 0
        self._by_second: set[str] = set()
        self._run.define_metric(STEP)
        self._run.define_metric("*", step_metric=STEP, step_sync=False)
        self._run.summary["state"] = "running"
        return Link(run_id, self._run.url or None, self._open_with(run, folder, run_id))

    def params(self, flat: Mapping[str, Scalar]) -> None:
        """Add params to the run's nested config."""
        self._run.config.update(nest(flat), allow_val_change=True)

    def metrics(self, batch: Sequence[Point]) -> None:
        """Add one row per step and time, leaving out points that an earlier session has stored."""
        new = [point for point in batch if (point.name, point.step) not in self._stored]
        self._draw_by_second({point.name for point in new if _axis(point.name) == SECOND})
        for (axis, step, moment), points in groupby(new, lambda point: (_axis(point.name), point.step, point.time)):
            # Never `step=`: W&B drops a row whose step is smaller than one before it.
            self._run.log({axis: step, "_timestamp": moment} | {point.name: point.value for point in points})
            self._num_rows += 1

    def dataset(self, dataset: Dataset) -> None:
        """Add an artifact of type `dataset` that refers to the files; nothing of them is copied."""
        import wandb

        facts = {"sha256": dataset.sha256, "rows": dataset.rows, "paths": list(dataset.paths), "used_for": dataset.name}
        artifact = wandb.Artifact(_fit_for_artifact(dataset.title), type="dataset", metadata=facts)
        for path in map(Path, dataset.paths):
            if path.exists():
                artifact.add_reference(path.absolute().as_uri())
        self._run.log_artifact(artifact)

    def artifact(self, path: Path, name: str) -> None:
        """Add a file or folder as an artifact of type `file`."""
        import wandb

        artifact = wandb.Artifact(_artifact_name(self._run.id, name), type="file")
        if path.is_dir():
            artifact.add_dir(str(path))
        else:
            artifact.add_file(str(path), name=Path(name).name)
        self._run.log_artifact(artifact)

    def flush(self) -> bool:
        """Wait until every row stands in the run's file; a server is sure to have it only when the session ends.

        Raises:
            TimeoutError: W&B's own process does not write them.
        """
        until = time.monotonic() + _FLUSH_SECONDS
        while self._num_stored < self._num_rows:
            self._num_stored += len(self._log.rows())
            if time.monotonic() > until:
                raise TimeoutError(f"W&B has written {self._num_stored} of {self._num_rows} rows to {self._log.path}")
            time.sleep(0.02)
        return not self._is_online

    def close(self, status: str, error: str | None) -> None:
        """Set the state and end the session, marked as failed by W&B's exit code where it is not finished."""
        self._run.summary["state"] = status
        if error:
            self._run.summary["error"] = error
        self._run.finish(exit_code=0 if status == "finished" else 1)

    def release(self) -> None:
        """End the session; the run can be gone on with."""
        self._run.finish(exit_code=0)

    def _draw_by_second(self, names: set[str]) -> None:
        """Name the x-axis of each of these series, which comes before what is said of all others."""
        for name in names - self._by_second:
            self._run.define_metric(name, step_metric=SECOND, step_sync=False)
        self._by_second |= names

    def _open_with(self, run: RunInfo, folder: Path, run_id: str) -> str:
        if self._is_online:
            return str(self._run.url)
        folders = sorted({*_session_folders(folder, run_id), Path(self._run.settings.sync_dir)})
        server = f"WANDB_BASE_URL={shlex.quote(_base_url(run.options))} " if run.options.get("wandb_base_url") else ""
        return f"{server}wandb sync " + " ".join(shlex.quote(str(one)) for one in folders)


def _check_writable(folder: Path) -> None:
    """Refuse a folder in whose stead W&B would use the system's temporary one, where the run would be lost.

    Raises:
        OSError: the folder cannot be made or written to.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise PermissionError(f"{folder} cannot be written to")


def _settings(options: Mapping[str, Any]) -> Any:
    import wandb

    return wandb.Settings(
        base_url=_base_url(options),
        console="off",
        disable_git=True,
        disable_job_creation=True,
        finish_timeout=60.0,
        finish_timeout_raises=True,
        init_timeout=60.0,
        silent=True,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_disable_stats=True,
        x_save_requirements=False,
        # Two sessions within one second would otherwise share a folder.
        x_sync_dir_suffix=uuid.uuid4().hex[:6],
        x_transaction_log_flush_interval=0.2,
    )


def _base_url(options: Mapping[str, Any]) -> str:
    return str(options.get("wandb_base_url") or os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai")


def _session_folders(folder: Path, run_id: str) -> list[Path]:
    return sorted((folder / "wandb").glob(f"*run-*-{run_id}*"))


def _stored_points(folder: Path, run_id: str, online: Any | None) -> set[tuple[str, int]]:
    """List the points that the run has already, as (name, step).

    Offline, those are the rows that earlier sessions have written. A server may have had less than what was written: it
    has as many rows as the run starts behind, and W&B numbers the rows of a run through all its sessions.
    """
    stored = set()
    for session in _session_folders(folder, run_id):
        for row in TransactionLog(session / f"run-{run_id}.wandb").rows():
            axis = SECOND if SECOND in row else STEP
            if axis in row and (online is None or row["_step"] < online.starting_step):
                stored |= {(name, int(row[axis])) for name in row}
    return stored


def _axis(name: str) -> str:
    """Name the series that counts a point's steps: samples of the machine count seconds."""
    return SECOND if name.startswith(PREFIX) else STEP


def _artifact_name(run_id: str, name: str) -> str:
    return _fit_for_artifact(f"{run_id}-{name}")


def _fit_for_artifact(name: str) -> str:
    return re.sub(r"[^\w.-]", "-", name)[:128]
