"""The run folder and the tracker of one run: opened together, closed with the run's true state."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuning.checkpoints.search import UNFINISHED, torn_checkpoints
from tuning.config.ir import IR
from tuning.config.schema import TuningConfig
from tuning.errors import Preempted, UserError, first_line
from tuning.fingerprints import weights_fingerprint
from tuning.full_disk import full_disk
from tuning.manifest import Manifest, create_manifest, described_data, described_model, was_interrupted
from tuning.recommender.action import Recommendation
from tuning.trackers.environment import environment
from tuning.trackers.recorder import Recorder
from tuning.trackers.redaction import redact
from tuning.trackers.sync import set_aside
from tuning.trackers.tracker import Tracker
from tuning.trackers.tracker_factory import create_tracker
from tuning.whole_files import write_whole
from tuning.world import rank

logger = logging.getLogger(__name__)

_RESULTS = (
    *("eval.json", "eval.csv", "predictions.jsonl", "baseline.json", "skipped_rows.jsonl", "audit.json"),
    "report.html",
)
"""What a run leaves beside its checkpoints that another run would seem to have found."""
COMPLETE_FILE = ".complete"
"""There is one where the last run in the folder has done all it had to, for schedulers; the manifest tells more."""
CONFIG_FILE = "config.json"
RECOMMENDATIONS_FILE = "recommendations.json"
_FAILED_SECONDS = 5.0
"""Longest wait for what the recorder is still looking at when a run has failed."""


@dataclass(frozen=True)
class Run:
    """A run that goes on: its configuration, its tracker, and what finds facts of it out beside the training."""

    config: TuningConfig
    tracker: Tracker
    recorder: Recorder
    manifest: Manifest

    def record_model(self) -> None:
        """Record what the base model is; asked for once it is loaded, so that its files are there and already read."""
        self.recorder.record("model", lambda: described_model(self.config.model, self.manifest))

    def record_results(self, global_step: int, metrics: Mapping[str, float], model_folder: Path) -> None:
        """Record where the run led; the saved weights are read beside whatever is done next."""
        results = {"model_folder": str(model_folder.resolve()), **metrics}
        self.tracker.set_params(results, name="results")
        self.manifest.add("results", {"global_step": global_step, **results})
        self.recorder.record("weights", self.manifest.keeping("weights", lambda: weights_fingerprint(model_folder)))

    def record_origins(self, document: IR, recommendations: tuple[Recommendation, ...]) -> None:
        """Record what the run starts with: configuration, reasons, metadata, environment and data."""
        folder = run_folder(self.config)
        self.tracker.set_params(document.values, name="config")
        self.tracker.set_params(document.sources, name="sources")
        self.tracker.set_params(recommended_values(recommendations), name="recommendations")
        self.tracker.set_params(self.config.metadata, name="metadata")
        for file in (CONFIG_FILE, RECOMMENDATIONS_FILE):
            self.tracker.log_artifact(folder / file)
        self.recorder.record("environment", self.manifest.keeping("environment", environment))
        self.recorder.record("data", lambda: described_data(self.config.data, self.manifest))

    def finish(self, status: str, error: str | None = None) -> None:
        """End the run in its true state."""
        self.recorder.finish(self.config.tracking.finish_timeout if error is None else _FAILED_SECONDS)
        self.tracker.finish(status, error)
        self.manifest.complete(status, error)
        if rank() == 0:
            _write_report(run_folder(self.config))


@contextlib.contextmanager
def start_run(
    config: TuningConfig, document: IR, recommendations: tuple[Recommendation, ...], resumed: bool
) -> Iterator[Run]:
    """Open the run folder and the tracker; a no-op tracker off rank zero. The state at the end is what happened.

    A run goes on, as the same one in all trackers, where it has a checkpoint or was started again (`resumed`), or was
    interrupted before its first.

    Raises:
        UserError: the run folder cannot be written.
    """
    goes_on = resumed or _goes_on(config, document)
    if rank() == 0:
        _prepare_folder(config, document, recommendations, goes_on)
    tracker = create_tracker(config.tracking.model_dump(), run_folder(config), rank=rank())
    manifest = create_manifest(run_folder(config), document, goes_on, enabled=rank() == 0)
    run = Run(config, tracker, Recorder(tracker, enabled=rank() == 0), manifest)
    try:
        run.record_origins(document, recommendations)
        yield run
    except Preempted as error:
        run.finish("preempted", str(error))
        raise
    except KeyboardInterrupt:
        run.finish("killed", "interrupted from the keyboard")
        raise
    except BaseException as error:
        run.finish("failed", f"{type(error).__name__}: {first_line(error)}")
        raise
    run.finish("finished")


def _write_report(folder: Path) -> None:
    """Write the page of the run; a fault in it is no fault of the run."""
    try:
        from tuning.report.page import write_report

        write_report(folder)
    except Exception as error:
        logger.warning("no report is written: %s: %s (later: tune report %s)", type(error).__name__, error, folder)


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


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file so that nobody ever reads half of it."""
    write_whole(path, f"{json.dumps(content, indent=2, ensure_ascii=False, default=str)}\n")


def as_document(document: IR) -> Mapping[str, Any]:
    """Lay a document out for `config.json`; the trainer reads such a file like any other configuration."""
    return {"values": document.values, "sources": document.sources}


def _goes_on(config: TuningConfig, document: IR) -> bool:
    return config.training.resume_from_checkpoint is not False and was_interrupted(run_folder(config), document)


def _prepare_folder(
    config: TuningConfig, document: IR, recommendations: tuple[Recommendation, ...], goes_on: bool
) -> None:
    folder = run_folder(config)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if config.training.save_model_dir is not None:
            Path(config.training.save_model_dir).expanduser().mkdir(parents=True, exist_ok=True)
        (folder / COMPLETE_FILE).unlink(missing_ok=True)
        if goes_on:
            _set_torn_aside(folder)
        else:
            set_aside(folder)
            _set_results_aside(folder)
        write_json(folder / CONFIG_FILE, as_document(IR(redact(document.values), document.sources)))
        write_json(folder / RECOMMENDATIONS_FILE, redact([found.to_dict() for found in recommendations]))
    except OSError as error:
        if full_disk(error):
            raise
        reason = error.strerror or str(error)
        where = error.filename or folder
        raise UserError(f"training.output_dir, save_model_dir: '{where}' cannot be written: {reason}") from error


def _set_results_aside(folder: Path) -> None:
    """Move the checkpoints and results of an earlier run out of the way: nobody should take them for the new one's."""
    names = ("checkpoint-*", UNFINISHED, *_RESULTS)
    earlier = [path for name in names for path in sorted(folder.glob(name))]
    _move_aside(folder, earlier, "the checkpoints and results of an earlier run are now in %s")


def _set_torn_aside(folder: Path) -> None:
    """Move checkpoints that are not whole out of the way: transformers would count them, and remove whole ones."""
    torn = [path for path, _ in torn_checkpoints(folder)]
    _move_aside(folder, torn, "the checkpoints that are not complete are now in %s; remove them to make room")


def _move_aside(folder: Path, paths: Sequence[Path], told: str) -> None:
    if paths:
        number = next(number for number in itertools.count(1) if not (folder / f"earlier.{number}").exists())
        aside = folder / f"earlier.{number}"
        for path in paths:
            target = aside / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
        logger.warning(told, aside)


def complete(folder: Path) -> None:
    """Note that the run has done all it had to."""
    (folder / COMPLETE_FILE).touch()
