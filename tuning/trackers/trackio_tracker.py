"""Trackio: a sqlite file per project on this machine."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from tuning.errors import Problem
from tuning.trackers.backend import Backend, Dataset, Link, Point, RunInfo
from tuning.trackers.params import Scalar, nest
from tuning.trackers.system_metrics import PREFIX

# Names that would send the run elsewhere than its options say.
_FOREIGN = ("TRACKIO_BUCKET_ID", "TRACKIO_DATASET_ID", "TRACKIO_SERVER_URL", "TRACKIO_SPACE_ID")
_UNFIT = re.compile(r"[^A-Za-z0-9_-]")
# Trackio keeps files of its own under such names.
_RESERVED_NAME = re.compile(
    r"registry-.*|.+_(system|configs|traces|artifacts|artifact_versions|artifact_aliases"
    r"|run_artifact_links|external_run_artifact_links)"
)


class TrackioBackend(Backend):
    """Write a run to Trackio's storage; `trackio show` draws it and `trackio sync` sends it to a Space."""

    package = "trackio"
    extra = "trackio"

    @staticmethod
    def problems(options: Mapping[str, Any]) -> list[Problem]:
        """Refuse a project's name that Trackio would change or not take."""
        project = options.get("trackio_project")
        if project is None or (not _UNFIT.search(project) and project and not _RESERVED_NAME.fullmatch(project)):
            return []
        expected = "expected letters, digits, _ and -, and no ending that Trackio keeps for itself, such as _system"
        return [Problem("tracking.trackio_project", expected, value=project)]

    def open(self, run: RunInfo, saved_id: str | None) -> Link:
        """Begin the run under our own id, or go on with it."""
        folder = Path(run.options.get("trackio_dir") or run.folder / "trackio")
        folder.mkdir(parents=True, exist_ok=True)
        for name in _FOREIGN:
            os.environ.pop(name, None)
        os.environ["TRACKIO_DIR"] = str(folder)
        from trackio.sqlite_storage import SQLiteStorage

        self._storage = SQLiteStorage
        self._run_id = saved_id or run.run_id
        self._project = _project(run)
        self._begun = _moment(run.time)
        self._who = {"project": self._project, "run": run.name, "run_id": self._run_id}
        stored = SQLiteStorage.get_run_config(self._project, run.name, self._run_id)
        self._config: dict[str, Any] = stored or {"_Created": self._begun, "run_dir": str(run.run_dir)}
        self._save(state="running", error=None)
        return Link(
            self._run_id, None, f"TRACKIO_DIR={shlex.quote(str(folder))} trackio show --project {self._project}"
        )

    def params(self, flat: Mapping[str, Scalar]) -> None:
        """Add params to the run's nested config."""
        self._save(params=_joined(self._config.get("params", {}), nest(flat)))

    def metrics(self, batch: Sequence[Point]) -> None:
        """Add one row per step and time; Trackio passes over rows that it has."""
        self._add_rows([point for point in batch if not point.name.startswith(PREFIX)], system=False)
        self._add_rows([point for point in batch if point.name.startswith(PREFIX)], system=True)

    def dataset(self, dataset: Dataset) -> None:
        """Add an input of type `dataset` that refers to the files; nothing of them is copied."""
        manifest: Any = [
            {"path": Path(path).name, "ref": Path(path).absolute().as_uri(), "digest": dataset.sha256, "size": 0}
            for path in dataset.paths
        ]
        facts = {"sha256": dataset.sha256, "rows": dataset.rows, "used_for": dataset.name}
        artifact_id = self._storage.create_or_get_artifact(self._project, _fit(dataset.title), "dataset", None)
        version_id, _, _ = self._storage.insert_artifact_version(
            self._project, artifact_id, manifest, facts, None, None
        )
        self._storage.insert_run_artifact_link(self._project, self._who["run"], self._run_id, version_id, "input")

    def artifact(self, path: Path, name: str) -> None:
        """Add a file, or a folder with all its files."""
        from trackio.cas import stage_blob_into_project

        manifest = []
        for file, inside in _files(path, name):
            digest, size = stage_blob_into_project(file, self._project)
            manifest.append({"path": inside, "digest": digest, "size": size})
        self._storage.commit_artifact_version(
            self._project,
            _fit(f"{self._run_id[:8]}-{name}"),
            "file",
            None,
            manifest,
            None,
            None,
            self._who["run"],
            self._run_id,
        )

    def close(self, status: str, error: str | None) -> None:
        """Set the state and, where it is not a good one, raise an alert in the dashboard."""
        self._save(state=status, error=error)
        if status != "finished":
            alert = {"titles": [f"Run {status}"], "texts": [error], "levels": ["error"], "steps": [None]}
            self._storage.bulk_alert(**self._who, **alert, alert_ids=[f"{self._run_id}-{status}"])

    def _save(self, **changes: Any) -> None:
        """Replace the config; Trackio takes it along with a row, here always the same empty one."""
        self._config |= changes
        self._storage.bulk_log(
            **self._who,
            metrics_list=[{}],
            steps=[0],
            timestamps=[self._begun],
            log_ids=[f"{self._run_id}-config"],
            config=self._config,
        )

    def _add_rows(self, points: Sequence[Point], system: bool) -> None:
        rows = [list(row) for _, row in groupby(points, lambda point: (point.step, point.time))]
        given: dict[str, Any] = {
            "metrics_list": [{point.name: point.value for point in row} for row in rows],
            "timestamps": [_moment(row[0].time) for row in rows],
            "log_ids": [self._log_id(row) for row in rows],
        }
        if system:
            self._storage.bulk_log_system(**self._who, **given)
        else:
            self._storage.bulk_log(**self._who, **given, steps=[row[0].step for row in rows])

    def _log_id(self, row: Sequence[Point]) -> str:
        """Name a row after what it is, so that the same one sent again is known."""
        names = hashlib.sha256("\n".join(point.name for point in row).encode()).hexdigest()
        return f"{self._run_id}-{row[0].step}-{row[0].time}-{names[:12]}"


def _project(run: RunInfo) -> str:
    """Name the project; an experiment's name that Trackio does not take is changed until it does."""
    name = str(run.options.get("trackio_project") or _UNFIT.sub("-", run.experiment))
    return f"{name}-runs" if _RESERVED_NAME.fullmatch(name) else name


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _joined(left: dict[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested params; a name is in both only where it stands for a mapping."""
    joined = dict(left)
    for key, value in right.items():
        joined[key] = _joined(joined.get(key, {}), value) if isinstance(value, dict) else value
    return joined


def _files(path: Path, name: str) -> Iterator[tuple[Path, str]]:
    if path.is_file():
        yield path, Path(name).name
    for file in sorted(path.rglob("*")) if path.is_dir() else ():
        if file.is_file():
            yield file, file.relative_to(path).as_posix()


def _fit(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)
