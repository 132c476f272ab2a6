"""The sections of a run's page that tell what came of it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from tuning.report.curves import curves_of
from tuning.report.data import RunReport
from tuning.report.elements import cell_text, duration_text, folded, mapping, paragraph, section, table, time_text
from tuning.report.scale import number_text
from tuning.score_names import is_score

_LONGEST_SAMPLE = 2000
_MOST_OPEN = 4


def overview(report: RunReport) -> str:
    """Say what ran, how it ended, and the few numbers that matter most."""
    run = report.run
    error = paragraph(run.error, "error") if run.error else ""
    model = Path(str(run.setting("model.model_name_or_path") or "-")).name
    method = {"none": "full fine-tuning"}.get(str(run.setting("peft.peft_method")), run.setting("peft.peft_method"))
    facts = [model, method, run.experiment, time_text(run.began), run.host]
    told = " · ".join(str(fact) for fact in facts if fact)
    tiles = "".join(f"<li><span>{escape(name)}</span><b>{escape(text)}</b></li>" for name, text in _tiles(report))
    return (
        f'<header class="top"><div><h1>{escape(run.name)}</h1><p class="quiet">{escape(told)}</p></div>'
        f'<span class="state {escape(run.state)}">{escape(run.state)}</span>{error}</header>'
        f'<ul class="tiles">{tiles}</ul>'
    )


def curves(report: RunReport) -> str:
    """Draw the curves."""
    charts = curves_of(report.run.series)
    return section("curves", "Curves", f'<div class="charts">{charts}</div>' if charts else "")


def evaluation(report: RunReport) -> str:
    """Show the scores of the model, and beside them those of its base."""
    final = report.evaluation
    baseline, difference = mapping(final.get("baseline")), mapping(final.get("difference"))
    scores = {name: value for name, value in final.items() if isinstance(value, (int, float, str)) and is_score(name)}
    if not baseline:
        return section("evaluation", "Evaluation", table(("metric", "score"), scores.items()))
    rows = [(name, value, baseline.get(name), _signed(difference.get(name))) for name, value in scores.items()]
    shown = table(("metric", "score", "before training", "difference"), rows)
    note = paragraph("Lower is better for loss and perplexity, higher for the others.", "quiet")
    return section("evaluation", "Evaluation", shown, note)


def predictions(report: RunReport) -> str:
    """Show what the model wrote, beside what was expected; all but a few are folded away."""
    shown = [_prediction(one) for one in report.predictions]
    count = paragraph(f"{len(shown)} of {report.num_predictions}, all in predictions.jsonl.", "quiet") if shown else ""
    rest = folded(f"{len(shown) - _MOST_OPEN} more", "".join(shown[_MOST_OPEN:]))
    return section("predictions", "Sample predictions", count, *shown[:_MOST_OPEN], rest)


def all_series(report: RunReport) -> str:
    """Show first, last, lowest and highest value of every series, drawn or not."""
    rows = [
        (name, len(points), *_extent([value for _, value in points]))
        for name, points in sorted(report.run.series.items())
    ]
    return folded(f"All series ({len(rows)})", table(("series", "points", "first", "last", "lowest", "highest"), rows))


def _tiles(report: RunReport) -> Iterator[tuple[str, str]]:
    run, final = report.run, report.evaluation
    before = mapping(final.get("baseline"))
    for name, series, key in (("held-out loss", "eval/loss", "eval_loss"), ("training loss", "train/loss", "")):
        last = run.last(series) if final.get(key) is None else final.get(key)
        if isinstance(last, (int, float)):
            first = before.get(key)
            yield name, f"{number_text(first)} → {number_text(last)}" if isinstance(first, float) else number_text(last)
    yield "steps", cell_text(run.steps)
    yield "took", duration_text(report.seconds)
    for name, series in (
        ("tokens per second", "train/tokens_per_second"),
        ("peak memory, GiB", "summary/peak_memory_gib"),
    ):
        if run.last(series) is not None:
            yield name, number_text(float(run.last(series) or 0.0))


def _prediction(found: Mapping[str, Any]) -> str:
    scores = " ".join(f"{name} {cell_text(value)}" for name, value in mapping(found.get("scores")).items())
    texts = "".join(
        f"<dt>{label}</dt><dd><pre>{escape(_clipped(found.get(key)))}</pre></dd>"
        for label, key in (("prompt", "prompt"), ("expected", "answer"), ("written", "prediction"))
    )
    head = f'<p class="quiet">{escape(str(found.get("row", "")))} <b>{escape(scores)}</b></p>'
    return f'<article class="prediction">{head}<dl>{texts}</dl></article>'


def _clipped(text: Any) -> str:
    text = "" if text is None else str(text)
    return text if len(text) <= _LONGEST_SAMPLE else f"{text[:_LONGEST_SAMPLE]}… ({len(text)} characters)"


def _signed(value: Any) -> Any:
    if not isinstance(value, (int, float)):
        return value
    return f"+{number_text(value)}" if value > 0 else number_text(value)


def _extent(values: list[float]) -> tuple[float | None, ...]:
    finite = [value for value in values if math.isfinite(value)]
    return (values[0], values[-1], min(finite, default=None), max(finite, default=None))
