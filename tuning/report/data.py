"""Collect what the report of a run shows from the files of its folder; what is missing is left out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuning.errors import UserError
from tuning.trackers.replay import ENDED
from tuning.trackers.run_files import RunFiles, read_json
from tuning.trackers.runs import LocalRun, load_run

_MOST_PREDICTIONS = 20
_STATE_RECORDS = (b'"type":"run"', b'"type":"state"')


@dataclass(frozen=True)
class RunReport:
    """A run and the files beside its record; each is empty where the run wrote none."""

    run: LocalRun
    manifest: Mapping[str, Any]
    recommendations: list[Mapping[str, Any]]
    audit: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    predictions: list[Mapping[str, Any]]
    num_predictions: int
    attempts: Sequence[Mapping[str, Any]]

    @property
    def seconds(self) -> float | None:
        """Return how long the attempts took together, as far as their ends are known."""
        took = [one["ended"] - one["began"] for one in self.attempts if one["ended"] is not None]
        return sum(took) if took else None


def load_report(folder: Path) -> RunReport:
    """Read a run's folder.

    Raises:
        UserError: it is no run folder.
    """
    files = RunFiles(folder)
    if not files.events.is_file():
        raise UserError(f"'{folder}' is no run folder: there is no tracking/events.jsonl in it. See: tune runs")
    run = load_run(folder)
    predictions = list(_json_lines(folder / "predictions.jsonl"))
    return RunReport(
        run=run,
        manifest=read_json(folder / "manifest.json"),
        recommendations=_json_list(folder / "recommendations.json"),
        audit=read_json(folder / "audit.json"),
        evaluation=read_json(folder / "eval.json") or _recorded_evaluation(run),
        predictions=predictions[:_MOST_PREDICTIONS],
        num_predictions=len(predictions),
        attempts=_attempts(files.events),
    )


def _recorded_evaluation(run: LocalRun) -> Mapping[str, Any]:
    """Lay the recorded scores out as `eval.json` does, for a run that wrote them to another kind of file."""
    parts: dict[str, dict[str, float]] = {"final": {}, "baseline": {}, "difference": {}}
    for name, points in run.series.items():
        stage, _, score = name.partition("/")
        if stage in parts:
            parts[stage][score] = points[-1][1]
    final = parts.pop("final")
    return {**final, **parts} if final else {}


def _attempts(events: Path) -> Sequence[Mapping[str, Any]]:
    """List the beginning, the end and the state of each attempt; times in seconds since 1970."""
    attempts: list[dict[str, Any]] = []
    for record in _records_of_states(events):
        if record["type"] == "run":
            started = {"began": record.get("time", 0.0), "ended": None, "state": "no end recorded", "error": None}
            attempts.append({**started, "host": record.get("host")})
        elif attempts and record.get("state") in ENDED:
            end = {"ended": record.get("time"), "state": record["state"], "error": record.get("error")}
            attempts[-1] |= end
    return attempts


def _records_of_states(events: Path) -> Iterator[dict[str, Any]]:
    """Yield the few records that a long log has of its runs' beginnings and ends."""
    with events.open("rb") as lines:
        for line in lines:
            if any(mark in line for mark in _STATE_RECORDS):
                record = _parsed(line)
                if isinstance(record, dict) and record.get("type") in ("run", "state"):
                    yield record


def _json_list(path: Path) -> list[Mapping[str, Any]]:
    try:
        found = _parsed(path.read_bytes())
    except OSError:
        return []
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _json_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return
    yield from (one for line in lines if isinstance(one := _parsed(line), dict))


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
