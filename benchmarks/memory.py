"""Compare estimated, traced and measured memory of training steps: `python -m benchmarks.memory [--gpu]`.

Writes the tables of docs/memory.md, and ends with 1 where a gate is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.memory_cases import Case, gpu_cases, measured_cases, traced_cases
from benchmarks.tables import circumstances, replace_between_marks, table
from tuning.recommender.hardware_facts import Gpu, HardwareFacts
from tuning.recommender.memory import estimate_memory
from tuning.recommender.memory_plan import budget_bytes
from tuning.recommender.model_facts import read_model
from tuning.recommender.traced_memory import traced_memory

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "memory.md"
COMMAND = "make bench-memory"
MOST_OFF_MEASURED = 0.08
MEDIAN_OFF_TRACED, MOST_OFF_TRACED = 0.05, 0.15
MOST_OFF_GPU = 0.07
_COLUMNS = ("model", "trained", "rows x tokens")
_MIB = 1 << 20
_LONGEST_SECONDS = 1800.0
_FIXED = {
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
}
"""Larger blocks go back to the system as soon as they are freed; nothing else is allocated behind the scenes."""


@dataclass(frozen=True)
class Compared:
    """One case, what was found for it, and what that should have been, bytes."""

    case: Case
    found: int
    true: int

    @property
    def error(self) -> float:
        """Return how much too large it is, as a share."""
        return self.found / self.true - 1

    def row(self) -> list[object]:
        """Write a row of a table."""
        sizes = [f"{size / _MIB:,.0f}" for size in (self.found, self.true)]
        return [self.case.model, self.case.description(), self.case.rows, *sizes, f"{100 * self.error:+.1f} %"]


@dataclass(frozen=True)
class Gate:
    """What a table must keep to: the largest error and, where it is given, the median."""

    name: str
    most: float
    median: float | None = None

    def is_kept(self, compared: Sequence[Compared]) -> bool:
        """Tell whether the table keeps to it; an empty one does not."""
        return bool(compared) and _most(compared) <= self.most and _median(compared) <= (self.median or self.most)

    def verdict(self, compared: Sequence[Compared]) -> str:
        """Say in a sentence how it went."""
        asked = f"largest error {self.most:.0%}" + (f", median {self.median:.0%}" if self.median else "")
        found = f"largest {_most(compared):.1%}, median {_median(compared):.1%}"
        word = "kept" if self.is_kept(compared) else "**missed**"
        return f"{self.name}: {len(compared)} cases, {found}. Asked: {asked}: {word}."


TRACED_GATE = Gate("Traced against measured", MOST_OFF_MEASURED)
ESTIMATED_GATE = Gate("Estimated against traced", MOST_OFF_TRACED, MEDIAN_OFF_TRACED)


def measured_on_cpu(case: Case) -> int:
    """Train two real steps in a process of their own; returns the peak, bytes."""
    return _peak("benchmarks.memory_process", case)


def measured_on_gpu(case: Case) -> int:
    """Train two real steps on the GPU; returns torch's peak, bytes."""
    return _peak("benchmarks.memory_gpu_process", case)


def traced(case: Case) -> int:
    """Return the traced peak, bytes."""
    return traced_memory(case.config, case.step).total


def estimated(case: Case) -> int:
    """Return the estimated peak, bytes."""
    estimate = estimate_memory(read_model(case.config, Path("no such folder")), case.step)
    if estimate is None:
        raise ValueError(f"{case.model}: the shape is not known")
    return estimate


def budget_of_gpu(memory_bytes: int) -> int:
    """Return what the recommender would plan with on such a GPU."""
    return budget_bytes(HardwareFacts("cuda", (Gpu("GPU", memory_bytes),))) or 0


def compare(cases: Iterable[Case], find: Callable[[Case], int], truth: Callable[[Case], int]) -> list[Compared]:
    """Find both sizes of every case, and print a line for each."""
    compared = []
    for case in cases:
        compared.append(Compared(case, find(case), truth(case)))
        print(" | ".join(map(str, compared[-1].row())), flush=True)
    return compared


def content(measured: Sequence[Compared], calculated: Sequence[Compared]) -> str:
    """Write what stands between the marks of the page."""
    return "\n\n".join(
        [
            circumstances(COMMAND),
            TRACED_GATE.verdict(measured),
            table((*_COLUMNS, "traced, MiB", "measured, MiB", "error"), rows(measured)),
            ESTIMATED_GATE.verdict(calculated),
            table((*_COLUMNS, "estimated, MiB", "traced, MiB", "error"), rows(calculated)),
        ]
    )


def rows(compared: Sequence[Compared]) -> list[list[object]]:
    """Write the rows of a table."""
    return [one.row() for one in compared]


def on_cpu(page: Path) -> bool:
    """Compare on this machine's CPU, and write the page; True where both gates are kept."""
    calculated = compare(traced_cases(), estimated, traced)
    measured = compare(measured_cases(), traced, measured_on_cpu)
    replace_between_marks(page, "memory", content(measured, calculated))
    print(TRACED_GATE.verdict(measured), ESTIMATED_GATE.verdict(calculated), sep="\n")
    return TRACED_GATE.is_kept(measured) and ESTIMATED_GATE.is_kept(calculated)


def on_gpu(page: Path) -> bool:
    """Compare on this machine's GPU, and write the page; True where no error is too large and what fits did fit."""
    import torch

    cases, memory = list(gpu_cases()), torch.cuda.get_device_properties(0).total_memory
    peaks = {case: measured_on_gpu(case) for case in cases}
    too_large = [case for case in cases if peaks[case] == 0]
    wrong = [case for case in too_large if min(estimated(case), traced(case)) <= budget_of_gpu(memory)]
    lines = [f"{circumstances('python -m benchmarks.memory --gpu')} {torch.cuda.get_device_name(0)}."]
    lines.append(f"{len(too_large)} cases ran out of memory; {len(wrong)} of them were said to fit.")
    kept = not wrong
    for name, find in (("Estimated", estimated), ("Traced", traced)):
        gate = Gate(f"{name} against measured on the GPU", MOST_OFF_GPU)
        compared = compare([case for case in cases if peaks[case]], find, peaks.__getitem__)
        lines += [gate.verdict(compared), table((*_COLUMNS, "found, MiB", "measured, MiB", "error"), rows(compared))]
        kept = kept and gate.is_kept(compared)
    replace_between_marks(page, "memory-gpu", "\n\n".join(lines))
    return kept


def main(argv: Sequence[str] | None = None) -> int:
    """Compare, write the tables, and return 0 where the gates are kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--gpu", action="store_true", help="measure on the GPU of this machine instead")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page whose tables are replaced")
    args = parser.parse_args(argv)
    return 0 if (on_gpu if args.gpu else on_cpu)(args.page) else 1


def _peak(module: str, case: Case) -> int:
    job = json.dumps({"config": dict(case.config), "step": asdict(case.step)})
    done = subprocess.run(
        [sys.executable, "-m", module, job],
        cwd=ROOT,
        env={**os.environ, **_FIXED},
        stdout=-1,
        timeout=_LONGEST_SECONDS,
        check=True,
        text=True,
    )
    return int(json.loads(done.stdout.splitlines()[-1])["peak"])


def _most(compared: Sequence[Compared]) -> float:
    return max(abs(one.error) for one in compared)


def _median(compared: Sequence[Compared]) -> float:
    return statistics.median(abs(one.error) for one in compared)


if __name__ == "__main__":
    sys.exit(main())
