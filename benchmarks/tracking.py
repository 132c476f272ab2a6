"""What tracking costs the training thread, beside the vendors' own callbacks: `python -m benchmarks.tracking`."""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.stores import ROOT, environment, make_mlflow_database
from benchmarks.tables import circumstances, replace_between_marks, table
from benchmarks.tracking_case import ALL_OURS, MOST_COMPUTING_STEPS, NUM_SCALARS, OURS, STEP_SECONDS, VENDORS, Cost

PAGE = ROOT / "docs" / "faults.md"
COMMAND = "make bench-tracking"
CASES = (*OURS, ALL_OURS, *VENDORS.values())
HEADER = (
    "way to track",
    "median ms per step",
    "p99 ms",
    "vendor's median / ours",
    "in training: median ms",
    "p99 ms",
    "of a 50 ms step",
    "start s",
    "end s",
    "peak memory MiB",
    "beside no-op",
)
_STEP_MS = 50.0
MOST_MEDIAN_MS = 0.1
MOST_OF_A_STEP = 0.01
MOST_MORE_MEMORY = 0.05
_LONGEST_CASE_SECONDS = 900.0


def measure(name: str, folder: Path, num_steps: int) -> Cost:
    """Measure one way to track in a process of its own.

    Raises:
        RuntimeError: the way does not work.
    """
    folder.mkdir(parents=True)
    shutil.copy(make_mlflow_database(folder.parent / "empty-mlflow.db"), folder / "mlflow.db")
    command = [sys.executable, "-m", "benchmarks.tracking_case", name, str(folder), str(num_steps)]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=_LONGEST_CASE_SECONDS, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
    return Cost(**json.loads(next(line for line in done.stdout.splitlines() if line.startswith('{"name"'))))


def middle(costs: Sequence[Cost]) -> Cost:
    """Take the repetition with the middle median."""
    return sorted(costs, key=lambda cost: cost.median_ms)[len(costs) // 2]


def problems(costs: Mapping[str, Cost]) -> list[str]:
    """Name each target that one of ours misses."""
    found = []
    for name in (*list(OURS)[1:], ALL_OURS):
        if costs[name].median_ms >= MOST_MEDIAN_MS:
            found.append(f"{name}: {costs[name].median_ms:.3f} ms per step")
        if costs[name].median_computing_ms >= _STEP_MS * MOST_OF_A_STEP:
            found.append(f"{name}: more than 1 % of a step")
    if costs[ALL_OURS].peak_mib > costs["no-op"].peak_mib * (1 + MOST_MORE_MEMORY):
        found.append(f"{ALL_OURS}: {costs[ALL_OURS].peak_mib:.0f} MiB of memory")
    return found


def row(cost: Cost, costs: Mapping[str, Cost]) -> list[object]:
    """Write one line of the table."""
    vendor = costs.get(VENDORS.get(cost.name, ""))
    return [
        cost.name,
        f"{cost.median_ms:.3f}",
        f"{cost.p99_ms:.2f}",
        f"{vendor.median_ms / cost.median_ms:.0f}" if vendor else "",
        f"{cost.median_computing_ms:.3f}",
        f"{cost.p99_computing_ms:.2f}",
        f"{100 * cost.median_computing_ms / _STEP_MS:.2f} %",
        f"{cost.start_seconds:.1f}",
        f"{cost.end_seconds:.1f}",
        f"{cost.peak_mib:.0f}",
        f"{100 * (cost.peak_mib / costs['no-op'].peak_mib - 1):+.1f} %",
    ]


def content(costs: Mapping[str, Cost], repeats: int) -> str:
    """Write what stands between the marks of the page."""
    steps = statistics.mode(cost.num_steps for cost in costs.values())
    how = f"{steps} steps of {NUM_SCALARS} numbers, one after another, then {min(steps, MOST_COMPUTING_STEPS)} with"
    how += f" {STEP_SECONDS * 1000:.0f} ms of computing before each; the middle of {repeats} tries."
    verdict = "; ".join(problems(costs)) or "Every target is met"
    return "\n\n".join(
        [f"{circumstances(COMMAND)} {how} {verdict}.", table(HEADER, [row(cost, costs) for cost in costs.values()])]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Measure every way and write the table; 0 when every target is met."""
    args = _parser().parse_args(argv)
    folder = Path(args.folder or tempfile.mkdtemp(prefix="tracking-"))
    found: dict[str, list[Cost]] = {name: [] for name in CASES}
    for repeat in range(args.repeats):
        for index, name in enumerate(CASES):
            cost = measure(name, folder / f"{repeat}-{index}", args.steps)
            found[name].append(cost)
            print(f"{name}: {cost.median_ms:.3f} ms, {cost.peak_mib:.0f} MiB", flush=True)
    costs = {name: middle(several) for name, several in found.items()}
    replace_between_marks(args.page, "tracking", content(costs, args.repeats))
    print("; ".join(problems(costs)) or "every target is met")
    return 1 if problems(costs) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracking", description=__doc__)
    parser.add_argument("--steps", type=int, default=1000, help="steps of each way (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="times that each is measured (default: %(default)s)")
    parser.add_argument("--folder", help="keep all files of the runs here")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page whose table is replaced")
    return parser


if __name__ == "__main__":
    sys.exit(main())
