"""A tracker of a fourth party, in one class: it keeps each run in one file of JSON lines."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tuning.trackers.backend import Backend, Link, Point, RunInfo


class JsonlBackend(Backend):
    """Keep a run in `jsonl_dir`; a file `down`, `frozen` or `crash` there makes the service fail, hang or die."""

    def open(self, run: RunInfo, saved_id: str | None) -> Link:
        self._folder = Path(run.options["jsonl_dir"])
        self._file = self._folder / f"{run.run_id}.jsonl"
        self._write("open", saved_id)
        return Link(run.run_id, None, f"cat {self._file}")

    def params(self, flat: Mapping[str, Any]) -> None:
        if any(value == "refused" for value in flat.values()):
            raise ValueError("this value is not taken")
        self._write("params", dict(flat))

    def metrics(self, batch: Sequence[Point]) -> None:
        self._write("metrics", [point._replace(value=str(point.value)) for point in batch])

    def artifact(self, path: Path, name: str) -> None:
        if path.name == "unsendable":
            raise PermissionError(path)
        self._write("artifact", [name, path.read_text()])

    def close(self, status: str, error: str | None) -> None:
        self._write("close", [status, error])

    def release(self) -> None:
        self._write("release", None)

    def _write(self, kind: str, value: Any) -> None:
        while (self._folder / "frozen").exists():
            time.sleep(0.05)
        if (self._folder / "crash").exists():
            os._exit(9)
        if (self._folder / "down").exists():
            raise ConnectionError("the service is down")
        with self._file.open("a") as file:
            file.write(json.dumps([kind, value]) + "\n")
