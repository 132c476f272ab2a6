"""What one training came to: read from the lines of the probe, kept as CSV, compared as ratios."""

from __future__ import annotations

import csv
import dataclasses
import json
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FIRST_STEADY_STEP = 3
"""Steps before it make the optimizer's state and fill caches."""
TOLERANCE = 0.9
"""A ratio below this share of the stored one is told of. Source: ours to TRL's in single precision in runs of one day,
3.64, 3.48 and 3.54 in full, 3.55, 3.66, 3.77 and 3.25 with LoRA, the last beside much other work."""


@dataclass(frozen=True)
class Measurement:
    """One training of one system; a number that could not be had is None, and `problem` says why there are none."""

    scenario: str
    system: str
    seed: int
    problem: str = ""
    num_steps: int | None = None
    num_tokens: int | None = None
    tokens_per_second: float | None = None
    tokens_per_cpu_second: float | None = None
    step_seconds: float | None = None
    peak_mib: float | None = None
    gpu_peak_mib: float | None = None
    mfu: float | None = None
    train_loss: float | None = None
    held_out_loss: float | None = None
    first_step_seconds: float | None = None
    first_step_cpu_seconds: float | None = None
    job_seconds: float | None = None
    job_cpu_seconds: float | None = None


def read_steps(file: Path) -> list[Mapping[str, Any]]:
    """Read the probe's lines of steps; none where the training made none."""
    if not file.exists():
        return []
    lines = map(json.loads, file.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if "step" in line]


def speed_of(steps: Sequence[Mapping[str, Any]], started: float) -> dict[str, Any]:
    """Compute throughput and times from the probe's lines of steps; `started` is when the process was.

    Raises:
        ValueError: there are too few steps, or no token was seen.
    """
    first, last = _steady(steps)
    before = steps[first - 1]
    num_tokens = last["tokens"] - before["tokens"]
    if num_tokens <= 0:
        raise ValueError("no token reached the embedding in the steady steps")
    pairs = zip(steps[first - 1 :], steps[first:], strict=False)
    return {
        "num_steps": len(steps),
        "num_tokens": last["tokens"],
        "tokens_per_second": num_tokens / (last["at"] - before["at"]),
        "tokens_per_cpu_second": num_tokens / max(last["cpu"] - before["cpu"], 1e-9),
        "step_seconds": statistics.median(after["at"] - one["at"] for one, after in pairs),
        "peak_mib": max(step["peak"] for step in steps) / 2**20,
        "gpu_peak_mib": max(step["gpu_peak"] for step in steps) / 2**20 or None,
        "first_step_seconds": steps[0]["at"] - started,
        "first_step_cpu_seconds": steps[0]["cpu"],
    }


def _steady(steps: Sequence[Mapping[str, Any]]) -> tuple[int, Mapping[str, Any]]:
    if len(steps) < FIRST_STEADY_STEP:
        raise ValueError(f"{len(steps)} steps were made, and the first {FIRST_STEADY_STEP - 1} do not count")
    return FIRST_STEADY_STEP - 1, steps[-1]


def write_csv(path: Path, measurements: Iterable[Measurement]) -> None:
    """Write one line for each training."""
    names = [field.name for field in dataclasses.fields(Measurement)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        for one in measurements:
            writer.writerow({name: _cell(getattr(one, name)) for name in names})


def read_csv(path: Path) -> list[Measurement]:
    """Read what `write_csv` wrote."""
    with path.open(encoding="utf-8", newline="") as file:
        return [Measurement(**{name: _value(name, text) for name, text in row.items()}) for row in csv.DictReader(file)]


def ratios(measurements: Sequence[Measurement], column: str, baselines: Sequence[str]) -> dict[tuple[str, str], float]:
    """Divide each system's median by that of the first baseline that was measured in the same scenario."""
    found = medians(measurements, column)
    result = {}
    for (scenario, system), value in found.items():
        base = next((found[scenario, name] for name in baselines if (scenario, name) in found), None)
        if base:
            result[scenario, system] = value / base
    return result


def medians(measurements: Sequence[Measurement], column: str) -> dict[tuple[str, str], float]:
    """Return the median over the seeds of a column, by scenario and system, where there are values."""
    values: dict[tuple[str, str], list[float]] = {}
    for one in measurements:
        if getattr(one, column) is not None:
            values.setdefault((one.scenario, one.system), []).append(getattr(one, column))
    return {key: statistics.median(found) for key, found in values.items()}


def worse_than_stored(
    now: Mapping[tuple[str, str], float], stored: Mapping[tuple[str, str], float]
) -> Iterator[tuple[str, str, float, float]]:
    """Yield scenario, system, and the ratio now and as stored, where now is clearly lower."""
    for key, value in now.items():
        if key in stored and value < TOLERANCE * stored[key]:
            yield (*key, value, stored[key])


def _cell(value: Any) -> Any:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else value


def _value(name: str, text: str) -> Any:
    if name in ("scenario", "system", "problem"):
        return text
    if not text:
        return None
    return int(text) if name in ("seed", "num_steps", "num_tokens") else float(text)
