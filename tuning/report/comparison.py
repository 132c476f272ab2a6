"""The page of several runs side by side, as `tune compare --html` writes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from tuning.report.curves import curves_side_by_side
from tuning.report.elements import cell_text, section, table
from tuning.report.page import page, write_page
from tuning.trackers.comparison import differing_origins, differing_settings, final_metrics
from tuning.trackers.comparison import main as compare
from tuning.trackers.runs import LocalRun


def main(argv: Sequence[str] | None = None) -> int:
    """Run `tune compare`, which can write a page; returns the exit code."""
    return compare(argv, write_comparison)


def write_comparison(runs: Sequence[LocalRun], file: Path) -> Path:
    """Write the page; returns the file.

    Raises:
        UserError: the file cannot be written.
    """
    return write_page(comparison_page(runs), file)


def comparison_page(runs: Sequence[LocalRun]) -> str:
    """Write the page of two or more runs."""
    names = names_of(runs)
    series = [(name, run.series) for name, run in zip(names, runs, strict=True)]
    state: dict[str, Sequence[Any]] = {"state": [run.state for run in runs], "steps": [run.steps for run in runs]}
    parts = (
        section("curves", "Curves", f'<div class="charts">{curves_side_by_side(series)}</div>'),
        section("settings", "Settings that differ", _settings(names, runs)),
        section("origins", "Data, model, code and machine that differ", _table(names, differing_origins(runs))),
        section("results", "Results", _table(names, {**state, **final_metrics(runs)})),
    )
    return page(f"{len(runs)} runs", _head(names, runs) + "".join(parts))


def names_of(runs: Sequence[LocalRun]) -> list[str]:
    """Name each run; those that share a name get their folder's beside it."""
    times = Counter(run.name for run in runs)
    return [run.name if times[run.name] == 1 else f"{run.name} ({run.folder})" for run in runs]


def _head(names: Sequence[str], runs: Sequence[LocalRun]) -> str:
    entries = "".join(
        f'<li><i class="color-{number % 8}"></i>{escape(name)} <span class="state {escape(run.state)}">'
        f"{escape(run.state)}</span></li>"
        for number, (name, run) in enumerate(zip(names, runs, strict=True))
    )
    return f'<header class="top"><h1>{len(runs)} runs side by side</h1></header><ul class="legend runs">{entries}</ul>'


def _settings(names: Sequence[str], runs: Sequence[LocalRun]) -> str:
    rows = [
        (path, *(_with_source(run, path, value) for run, value in zip(runs, values, strict=True)))
        for path, values in differing_settings(runs).items()
    ]
    return table(("field", *names), rows, "wide") or "<p>None.</p>"


def _with_source(run: LocalRun, path: str, value: Any) -> str:
    source = run.sources.get(path)
    return cell_text(value) if source is None else f"{cell_text(value)} ({source})"


def _table(names: Sequence[str], values: Mapping[str, Sequence[Any]]) -> str:
    rows = [(name, *of_runs) for name, of_runs in values.items()]
    return table(("", *names), rows, "wide") or "<p>None.</p>"
