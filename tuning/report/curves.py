"""Which series of a run are drawn, in which chart, and under which name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tuning.report.charts import Chart, Series, draw
from tuning.report.scale import Point
from tuning.trackers.system_metrics import PREFIX

_GPU_MEMORY = "_memory_gib"

SeriesOfARun = Mapping[str, Sequence[Point]]


class Curve(NamedTuple):
    """A chart to be: title, unit, and the series that it shows where a run has them, each under a short name."""

    title: str
    unit: str
    names: Mapping[str, str]
    along: str = "step"


CURVES = (
    Curve("Loss", "", {"train/loss": "training", "eval/loss": "held out"}),
    Curve("Token accuracy", "", {"train/mean_token_accuracy": "training", "eval/token_accuracy": "held out"}),
    Curve("Learning rate", "", {"train/learning_rate": "learning rate"}),
    Curve("Gradient norm", "", {"train/grad_norm": "gradient norm"}),
    Curve("Throughput", "tokens/s", {"train/tokens_per_second": "tokens per second"}),
    Curve("Time per step", "s", {"train/step_seconds": "seconds per step"}),
    Curve(
        "Memory",
        "GiB",
        {f"{PREFIX}process_memory_gib": "this process", f"{PREFIX}memory_used_gib": "whole machine"},
        "seconds since the run began",
    ),
)


def curves_of(series: SeriesOfARun) -> str:
    """Draw the charts of one run."""
    return "".join(draw(_chart(curve, series)) for curve in (*CURVES, *_gpu_memory(series)))


def curves_side_by_side(runs: Sequence[tuple[str, SeriesOfARun]]) -> str:
    """Draw one chart for each series that is worth comparing, with a line for each run."""
    return "".join(
        draw(Chart(_title(curve, name), curve.unit, _lines(runs, name), curve.along))
        for curve in CURVES
        for name in curve.names
        if not name.startswith(PREFIX)
    )


def _chart(curve: Curve, series: SeriesOfARun) -> Chart:
    lines = [
        Series(short, series[name], number)
        for number, (name, short) in enumerate(curve.names.items())
        if name in series
    ]
    return Chart(curve.title, curve.unit, lines, curve.along)


def _gpu_memory(series: SeriesOfARun) -> list[Curve]:
    names = {name: name[len(PREFIX) : -len(_GPU_MEMORY)] for name in sorted(series) if name.endswith(_GPU_MEMORY)}
    names = {name: short for name, short in names.items() if short.startswith("gpu_")}
    return [Curve("GPU memory", "GiB", names, "seconds since the run began")] if names else []


def _title(curve: Curve, name: str) -> str:
    return curve.title if len(curve.names) == 1 else f"{curve.title}, {curve.names[name]}"


def _lines(runs: Sequence[tuple[str, SeriesOfARun]], name: str) -> list[Series]:
    return [Series(run, series[name], number) for number, (run, series) in enumerate(runs) if name in series]
