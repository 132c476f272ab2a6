"""`tune compare`: what differs between runs, and where it led."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tuning.config.ir import leaves
from tuning.errors import EXIT_SUCCESS
from tuning.trackers.event_log import number_to_json
from tuning.trackers.runs import LocalRun, default_folder, named_run, shown, table
from tuning.trackers.system_metrics import PREFIX

NAMES_OF_THE_RUN = ("training.output_dir", "training.save_model_dir", "tracking.run_name")
"""Settings that every run has to itself; that they differ tells nothing."""

ORIGINS = (
    "data.",
    "model.",
    "environment.git.",
    "environment.hardware.",
    "environment.packages.",
    "environment.python",
)
"""Params beside the configuration that a difference can come from."""

_ABSENT = object()
_LONGEST_CELL = 48


def differing_settings(runs: Sequence[LocalRun]) -> dict[str, list[Any]]:
    """Map each setting that is not the same in all runs to its value in each; None where a run has none."""
    configs = [dict(leaves(run.config)) for run in runs]
    return _differing(configs, lambda path: path not in NAMES_OF_THE_RUN)


def differing_origins(runs: Sequence[LocalRun]) -> dict[str, list[Any]]:
    """Map each recorded fact of data, model, code and machine that is not the same in all runs to its values."""
    return _differing([run.params for run in runs], lambda name: name.startswith(ORIGINS))


def final_metrics(runs: Sequence[LocalRun]) -> dict[str, list[float | None]]:
    """Map each series but those of the machine to its last value in each run."""
    names = dict.fromkeys(name for run in runs for name in sorted(run.series) if not name.startswith(PREFIX))
    return {name: [run.last(name) for run in runs] for name in names}


def as_json(runs: Sequence[LocalRun]) -> dict[str, Any]:
    """Lay a comparison out for programs; every list is in the order of the runs."""
    settings = {
        path: [{"value": value, "source": run.sources.get(path)} for run, value in zip(runs, values, strict=True)]
        for path, values in differing_settings(runs).items()
    }
    metrics = {
        name: [None if value is None else number_to_json(value) for value in values]
        for name, values in final_metrics(runs).items()
    }
    described = [{"name": run.name, "folder": str(run.folder), "state": run.state, "steps": run.steps} for run in runs]
    return {"runs": described, "settings": settings, "origins": differing_origins(runs), "metrics": metrics}


def as_text(runs: Sequence[LocalRun]) -> str:
    """Lay a comparison out for a person."""
    settings = [
        (path, *(_with_source(run, path, value) for run, value in zip(runs, values, strict=True)))
        for path, values in differing_settings(runs).items()
    ]
    origins = [(name, *map(_cell, values)) for name, values in differing_origins(runs).items()]
    metrics = [(name, *map(shown, values)) for name, values in final_metrics(runs).items()]
    state = [("state", *(run.state for run in runs)), ("steps", *(shown(run.steps) for run in runs))]
    head = ("", *(run.name for run in runs))
    parts = {
        "Settings that differ (value and source)": settings,
        "Data, model, code and machine that differ": origins,
        "Results": [*state, *metrics],
    }
    return "\n\n".join(
        f"{title}\n{table([head, *rows])}" if rows else f"{title}\nnone" for title, rows in parts.items()
    )


def main(
    argv: Sequence[str] | None = None, write_page: Callable[[Sequence[LocalRun], Path], Path] | None = None
) -> int:
    """Print what differs between two or more runs; with `write_page` there is an option that has a page written."""
    parser = argparse.ArgumentParser(prog="tune compare", description=__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run's folder, or its name")
    parser.add_argument("--folder", type=Path, help="where names are looked for (default: runs, or here)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    if write_page is not None:
        parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with curves, and print its name")
    args = parser.parse_args(argv)
    if len(args.runs) < 2:
        parser.error("give at least two runs")
    runs = [named_run(name, args.folder or default_folder()) for name in args.runs]
    if write_page is not None and args.html is not None:
        print(write_page(runs, args.html))
        return EXIT_SUCCESS
    print(json.dumps(as_json(runs), indent=2, ensure_ascii=False) if args.json else as_text(runs))
    return EXIT_SUCCESS


def _differing(of_runs: Sequence[Mapping[str, Any]], wanted: Callable[[str], bool]) -> dict[str, list[Any]]:
    names = dict.fromkeys(name for one in of_runs for name in one if wanted(name))
    rows = {name: [one.get(name, _ABSENT) for one in of_runs] for name in names}
    return {
        name: [None if value is _ABSENT else value for value in values]
        for name, values in rows.items()
        if any(value != values[0] for value in values)
    }


def _with_source(run: LocalRun, path: str, value: Any) -> str:
    source = run.sources.get(path)
    return _cell(value) if source is None else f"{_cell(value)} ({source})"


def _cell(value: Any) -> str:
    text = shown(value)
    return text if len(text) <= _LONGEST_CELL else f"{text[:_LONGEST_CELL]}…"
