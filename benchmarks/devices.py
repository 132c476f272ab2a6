"""Train in two processes in every way, go on in one, and kill processes: `python -m benchmarks.devices [ways|kills]`.

Writes the tables of docs/distributed.md, and ends with 1 where a row is not as promised.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.device_runs import (
    DDP,
    STEPS,
    WAYS,
    Way,
    command,
    digest,
    go_on_from,
    largest_difference,
    losses,
    num_tracked_runs,
    train,
    train_and_kill,
    weights,
    write_inputs,
)
from benchmarks.stores import ROOT
from benchmarks.tables import circumstances, replace_between_marks, table

PAGE = ROOT / "docs" / "distributed.md"
COMMAND = "python -m benchmarks.devices"
MOST_DIFFERENCE = 1e-4
"""Nats between the losses of two ways to compute the same step. Source: issue 8, must-show 1."""
METHODS = ("full", "LoRA")
HEADER = ("way", "method", "loss: one, two processes", "weights differ by", "on from 2 in 1", "on from 1 in 2")
KILLED_HEADER = ("try", "killed", "exit code", "tracked runs", "same weights as unbroken")
NUM_KILLS = 10


@dataclass
class Row:
    """What became of one way: cells of the table, and whether they are as promised."""

    cells: list[object]
    is_good: bool

    def shown(self) -> list[object]:
        """Write the cells; what is not as promised stands in bold."""
        return self.cells if self.is_good else [f"**{cell}**" for cell in self.cells]


def run(inputs: Path, name: str, method: str, way: Way, num_processes: int, *more: str) -> Path:
    """Train as named, and return the run folder.

    Raises:
        ValueError: the training did not end well.
    """
    folder = inputs / name
    code = train(command(inputs, folder, method, way, num_processes, *more), inputs / f"{name}.log")
    if code != 0:
        raise ValueError(f"exit code {code}, see {inputs / name}.log")
    return folder


def tried(inputs: Path, way: Way, method: str, one: Path) -> Row:
    """Compare a way with one process: its losses, its weights, and what goes on from the checkpoint of the other."""
    name = f"{way.name.replace(' ', '-').replace(',', '')}-{method}"
    if importlib.util.find_spec(way.package) is None:
        return Row([way.name, method, f"not tried: {way.package} is not installed", "", "", ""], True)
    try:
        two = run(inputs, name, method, way, 2)
        expected = losses(one)
        difference = largest_difference(weights(two / "model"), weights(one / "model"))
        fewer = went_on(inputs, f"{name}-in-1", method, way, two, 1)
        alone = run(inputs, f"{name}-alone", method, way, 1) if way.takes_its_own_alone else one
        more = went_on(inputs, f"{name}-in-2", method, way, alone, 2)
    except (ValueError, OSError) as error:
        return Row([way.name, method, str(error), "", "", ""], False)
    found = losses(two)[-1]
    shown = [way.name, method, f"{expected[-1]:.6f}, {found:.6f}", f"{difference:.1e}"]
    resumed = [_compared(each, expected) for each in (fewer, more)]
    return Row([*shown, *(text for text, _ in resumed)], _is_near(found, expected[-1]) and all(ok for _, ok in resumed))


def went_on(inputs: Path, name: str, method: str, way: Way, earlier: Path, num_processes: int) -> list[float]:
    """Go on from the middle of another run; returns the losses of all steps."""
    go_on_from(earlier, inputs / name)
    return losses(run(inputs, name, method, way, num_processes))


def _compared(found: list[float], expected: list[float]) -> tuple[str, bool]:
    difference = max(abs(ours - theirs) for ours, theirs in zip(found, expected, strict=True))
    return f"losses within {difference:.1e}", difference <= MOST_DIFFERENCE


def _is_near(found: float, expected: float) -> bool:
    return abs(found - expected) <= MOST_DIFFERENCE


def rows(inputs: Path, ways: Sequence[Way], methods: Sequence[str]) -> Iterator[Row]:
    """Try every way with every method."""
    ones = {method: run(inputs, f"one-{method}", method, DDP, 1) for method in methods}
    for way in ways:
        for method in methods:
            row = tried(inputs, way, method, ones[method])
            print("  ".join(map(str, row.shown())), flush=True)
            yield row


def killed(inputs: Path, num_kills: int) -> Iterator[Row]:
    """Kill one of two processes some time after the first checkpoint, the first and the second one in turn."""
    steps = ("max_steps=120", "save_steps=3", "--max_restarts", "1")
    unbroken = digest(run(inputs, "unbroken", "full", DDP, 2, *steps))
    for number in range(num_kills):
        name, rank = f"killed-{number}", number % 2
        words = command(inputs, inputs / name, "full", DDP, 2, *steps)
        code = train_and_kill(words, inputs / name, inputs / f"{name}.log", rank, seed=number)
        has_restarted = "restart 1 of 1" in (inputs / f"{name}.log").read_text(errors="replace")
        is_same = code == 0 and digest(inputs / name) == unbroken
        tracked = num_tracked_runs(inputs / name)
        cells = [number + 1, f"rank {rank}" if has_restarted else "none: it was over", code, tracked]
        row = Row([*cells, "yes" if is_same else "no"], is_same and has_restarted and tracked == 1)
        print("  ".join(map(str, row.shown())), flush=True)
        yield row


def main(argv: Sequence[str] | None = None) -> int:
    """Try all ways, kill processes, print a line for each, and write the tables; 0 when every row is as promised."""
    args = _parser().parse_args(argv)
    inputs = Path(args.folder or tempfile.mkdtemp(prefix="devices-"))
    inputs.mkdir(parents=True, exist_ok=True)
    write_inputs(inputs)
    ways = [way for way in WAYS if not args.only or args.only.lower() in way.name.lower()]
    found = [] if args.part == "kills" else list(rows(inputs, ways, METHODS))
    broken = [] if args.part == "ways" or args.only else list(killed(inputs, args.kills))
    if found and not args.only:
        told = f"Losses are those of step {STEPS}, nats; {MOST_DIFFERENCE:g} is allowed between them."
        replace_between_marks(args.page, "devices", content(HEADER, found, told))
    if broken:
        replace_between_marks(args.page, "killed", content(KILLED_HEADER, broken, "Every try is a run of its own."))
    num_good, num_all = sum(row.is_good for row in [*found, *broken]), len(found) + len(broken)
    print(f"{num_good} of {num_all} as promised; files in {inputs}")
    return 0 if num_good == num_all else 1


def content(header: Sequence[str], found: Sequence[Row], told: str) -> str:
    """Write what stands between two marks of the page."""
    return "\n\n".join([f"{circumstances(COMMAND)} {told}", table(header, [row.shown() for row in found])])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("part", nargs="?", choices=("ways", "kills"), help="try only these; default: both")
    parser.add_argument("--only", metavar="WAY", help="try only ways with this in their names; the page stays as it is")
    parser.add_argument("--kills", type=int, default=NUM_KILLS, help=f"processes to kill (default: {NUM_KILLS})")
    parser.add_argument("--folder", help="keep all files of the runs here")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page whose tables are replaced")
    return parser


if __name__ == "__main__":
    sys.exit(main())
