"""The run folder and the tracker of one run: opened together, closed with the run's true state."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tuning.config.ir import IR
from tuning.config.schema import TuningConfig
from tuning.errors import UserError
from tuning.recommender.action import Recommendation
from tuning.trackers.sync import set_aside
from tuning.trackers.tracker import Tracker
from tuning.trackers.tracker_factory import create_tracker
from tuning.world import rank

CONFIG_FILE = "config.json"
RECOMMENDATIONS_FILE = "recommendations.json"


@contextlib.contextmanager
def start_run(
    config: TuningConfig, document: IR, recommendations: tuple[Recommendation, ...], resumed: bool
) -> Iterator[Tracker]:
    """Open the run folder and the tracker; a no-op tracker off rank zero. The state at the end is what happened.

    Raises:
        UserError: the run folder cannot be written.
    """
    folder = run_folder(config)
    if rank() == 0:
        _prepare_folder(folder, document, recommendations, resumed)
    tracker = create_tracker(config.tracking.model_dump(), folder, rank=rank())
    try:
        tracker.set_params(document.values, name="config")
        tracker.set_params(document.sources, name="sources")
        tracker.set_params(recommended_values(recommendations), name="recommendations")
        tracker.set_params(config.metadata, name="metadata")
        yield tracker
    except KeyboardInterrupt:
        tracker.finish("killed", "interrupted from the keyboard")
        raise
    except BaseException as error:
        tracker.finish("failed", f"{type(error).__name__}: {first_line(error)}")
        raise
    tracker.finish("finished")


def run_folder(config: TuningConfig) -> Path:
    """Return the folder that a run keeps everything in."""
    return Path(str(config.training.output_dir)).expanduser()


def recommended_values(recommendations: tuple[Recommendation, ...]) -> dict[str, Any]:
    """Lay recommendations out for a tracker: for each path its value, reason, level, source and action."""
    from tuning.config.ir import leaves

    return {
        path: {
            "value": value,
            "reason": found.comment,
            "level": found.level.value,
            "source": found.source,
            "action": found.action,
        }
        for found in recommendations
        for path, value in leaves(found.patch)
    }


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text."""
    return next(iter(str(error).splitlines()), "")


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file so that nobody ever reads half of it."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    text = json.dumps(content, indent=2, ensure_ascii=False, default=str)
    temporary.write_text(f"{text}\n", encoding="utf-8")
    temporary.replace(path)


def as_document(document: IR) -> Mapping[str, Any]:
    """Lay a document out for `config.json`; the trainer reads such a file like any other configuration."""
    return {"values": document.values, "sources": document.sources}


def _prepare_folder(folder: Path, document: IR, recommendations: tuple[Recommendation, ...], resumed: bool) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not resumed:
            set_aside(folder)
        write_json(folder / CONFIG_FILE, as_document(document))
        write_json(folder / RECOMMENDATIONS_FILE, [found.to_dict() for found in recommendations])
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"training.output_dir: '{folder}' cannot be written: {reason}; choose another") from error
