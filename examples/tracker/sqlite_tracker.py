"""A tracker in one class: every run in one sqlite file, for whoever would rather ask with SQL than with a dashboard."""

from __future__ import annotations

import json
import shlex
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuning.errors import Problem
from tuning.trackers.backend import Backend, Link, Point, RunInfo

TABLES = """
create table if not exists runs (run primary key, name, experiment, state, error);
create table if not exists params (run, name, value, primary key (run, name));
create table if not exists metrics (run, name, step integer, value real, time real, primary key (run, name, step));
create table if not exists artifacts (run, name, path, primary key (run, name));
"""


class SqliteBackend(Backend):
    """Write runs to the file that the option `path` names; without it, to one in the run folder."""

    @staticmethod
    def problems(options: Mapping[str, Any]) -> list[Problem]:
        """Refuse a folder, before the model is loaded."""
        path = options.get("path")
        if path is None or not Path(str(path)).is_dir():
            return []
        return [Problem("tracking.tracker_options.sqlite.path", "expected a file, not a folder", value=path)]

    def open(self, run: RunInfo, saved_id: str | None) -> Link:
        """Begin the run, or go on with it: the same row either way."""
        path = Path(str(run.options.get("path") or run.folder / "runs.db")).absolute()
        self.run_id = run.run_id
        self.database = sqlite3.connect(path)
        self.database.executescript(TABLES)
        self._write("insert or ignore into runs values (?, ?, ?, 'running', null)", [(run.name, run.experiment)])
        return Link(run.run_id, None, f"sqlite3 {shlex.quote(str(path))} 'select * from runs'")

    def params(self, flat: Mapping[str, Any]) -> None:
        """Add params; JSON keeps their types."""
        self._write("insert or ignore into params values (?, ?, ?)", [(k, json.dumps(v)) for k, v in flat.items()])

    def metrics(self, batch: Sequence[Point]) -> None:
        """Add points; the primary key sees to it that none is there twice. Sqlite keeps `inf` and `nan` as text."""
        rows = [(point.name, point.step, repr(point.value), point.time) for point in batch]
        self._write("insert or ignore into metrics values (?, ?, ?, ?, ?)", rows)

    def artifact(self, path: Path, name: str) -> None:
        """Add where a file or folder stands."""
        self._write("insert or replace into artifacts values (?, ?, ?)", [(name, str(path))])

    def close(self, status: str, error: str | None) -> None:
        """Set the state."""
        self.database.execute("update runs set state = ?, error = ? where run = ?", (status, error, self.run_id))
        self.database.commit()
        self.database.close()

    def release(self) -> None:
        """Close the file of a run that goes on."""
        self.database.close()

    def _write(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        self.database.executemany(statement, [(self.run_id, *row) for row in rows])
        self.database.commit()
