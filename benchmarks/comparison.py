"""Tables of what was measured: for each scenario a line for each system, medians over the seeds."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence

from benchmarks.measurements import Measurement, medians, ratios
from benchmarks.systems import BASELINES
from benchmarks.tables import table

_COLUMNS: Mapping[str, tuple[str, str]] = {
    "tokens_per_cpu_second": ("tokens / CPU s", ",.0f"),
    "tokens_per_second": ("tokens / s", ",.0f"),
    "step_seconds": ("step s", ".3f"),
    "peak_mib": ("peak MiB", ",.0f"),
    "gpu_peak_mib": ("GPU peak MiB", ",.0f"),
    "mfu": ("MFU", ".1%"),
    "train_loss": ("training loss", ".5f"),
    "held_out_loss": ("held-out loss", ".4f"),
    "first_step_seconds": ("first step after s", ".1f"),
    "first_step_cpu_seconds": ("CPU s until then", ".1f"),
    "job_seconds": ("whole job s", ".1f"),
}
"""Field -> what the column is called, and how its numbers are written."""
_WITH_SPREAD = "held_out_loss"


def comparison(measurements: Sequence[Measurement], titles: Mapping[str, str]) -> str:
    """Write a table for each scenario, and below it what could not be measured and why."""
    by_scenario: dict[str, list[Measurement]] = {}
    for one in measurements:
        by_scenario.setdefault(one.scenario, []).append(one)
    return "\n\n".join(_of_scenario(name, found, titles) for name, found in by_scenario.items())


def compared_column(measurements: Sequence[Measurement]) -> str:
    """Choose what is compared: seconds where a GPU computes, else CPU seconds."""
    return "tokens_per_second" if any(one.gpu_peak_mib for one in measurements) else "tokens_per_cpu_second"


def _of_scenario(name: str, measurements: Sequence[Measurement], titles: Mapping[str, str]) -> str:
    compared = ratios(measurements, compared_column(measurements), BASELINES)
    found = {field: medians(measurements, field) for field in _COLUMNS}
    fields = [field for field in _COLUMNS if found[field]]
    systems = dict.fromkeys(one.system for one in measurements if not one.problem)
    rows = []
    for system in systems:
        ratio = compared.get((name, system))
        cells = [_cell(field, found[field].get((name, system)), measurements, system) for field in fields]
        rows.append([titles.get(system, system), "" if ratio is None else f"{ratio:.2f}", *cells])
    header = ["system", "x TRL", *(_COLUMNS[field][0] for field in fields)]
    told = [f"{titles.get(one.system, one.system)}: {one.problem}." for one in measurements if one.problem]
    return "\n\n".join([f"**{name}**", *([table(header, rows)] if rows else []), *dict.fromkeys(told)])


def _cell(field: str, value: float | None, measurements: Sequence[Measurement], system: str) -> str:
    if value is None:
        return ""
    text = format(value, _COLUMNS[field][1])
    found = [getattr(one, field) for one in measurements if one.system == system and getattr(one, field) is not None]
    if field == _WITH_SPREAD and len(found) > 1:
        return f"{text} ± {statistics.stdev(found):.4f}"
    return text
