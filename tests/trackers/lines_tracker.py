"""A tracker by the four functions of the founding design, each of which writes a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tuning.trackers.tracker import Tracker


class LinesTracker(Tracker):
    def __init__(self, name: Any = None, tracker_config: Any = None) -> None:
        super().__init__(name, tracker_config)
        self.file = Path(self.config["path"])
        self.write("init", self._name, Path(self.config["run_dir"]).name)

    def get_hf_callback(self) -> None:
        return None

    def track(self, metric: Any, name: Any, stage: Any) -> None:
        self.write("track", metric, name, stage)

    def set_params(self, params: Any, name: Any) -> None:
        self.write("set_params", params, name)

    def finish(self, status: Any, error: Any) -> None:
        self.write("finish", status)

    def write(self, *words: object) -> None:
        with self.file.open("a") as file:
            file.write(json.dumps(words) + "\n")
