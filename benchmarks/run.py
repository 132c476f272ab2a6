"""Train every scenario by every system, and compare: `python -m benchmarks.run --scenarios benchmarks/scenarios.yaml`.

Each training is a process of its own on the same generated model and rows. Writes results.csv and chart.svg, prints the
tables, and ends with 1 where a ratio to the baseline is clearly below the one that is stored in the reference.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.chart import bar_chart
from benchmarks.comparison import compared_column, comparison
from benchmarks.measurements import Measurement, medians, ratios, read_csv, worse_than_stored, write_csv
from benchmarks.run_case import measure, why_not
from benchmarks.scenario_files import write_files
from benchmarks.scenarios import Scenario, load_scenarios
from benchmarks.systems import BASELINES, Case, System, systems
from benchmarks.tables import circumstances, replace_between_marks
from tuning.errors import UserError
from tuning.registry import did_you_mean

ROOT = Path(__file__).resolve().parent.parent
SCENARIOS = ROOT / "benchmarks" / "scenarios.yaml"
PAGE = ROOT / "docs" / "acceleration-measured.md"
COMMAND = "python -m benchmarks.run"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, write and compare; 0 when nothing is slower than stored, 1 when something is or the input is wrong."""
    args = _parser().parse_args(argv)
    try:
        scenarios = chosen(load_scenarios(args.scenarios, list(systems())), args.only, "scenario")
        _check_pythons(args.peer_python)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    scenarios = [scenario.tiny() for scenario in scenarios] if args.tiny else scenarios
    out = Path(args.out or tempfile.mkdtemp(prefix="benchmark-")).resolve()
    out.mkdir(parents=True, exist_ok=True)
    results = out / "results.csv"
    found = [one for one in read_csv(results) if not one.problem] if results.exists() else []
    for one in trainings(scenarios, out, args, found):
        print(_line(one), flush=True)
        found.append(one)
        write_csv(results, found)  # after each, so that an interrupted run leaves what it has
    return finish(found, out, args)


def chosen(scenarios: list[Scenario], only: Sequence[str], what: str) -> list[Scenario]:
    """Leave the scenarios that were asked for.

    Raises:
        UserError: there is none of a name.
    """
    names = [scenario.name for scenario in scenarios]
    for name in only:
        if name not in names:
            raise UserError(f"--only {name}: there is no such {what}. {did_you_mean(name, names)}")
    return [scenario for scenario in scenarios if not only or scenario.name in only]


def trainings(
    scenarios: Sequence[Scenario], out: Path, args: argparse.Namespace, found: Sequence[Measurement] = ()
) -> Iterator[Measurement]:
    """Train every scenario by every one of its systems and with every seed, the seeds outermost, but those found."""
    known, done = systems(), {(one.scenario, one.system, one.seed) for one in found}
    for seed in args.seeds:
        for scenario in scenarios:
            files = write_files(scenario, out / "files" / _key(scenario))
            for name in scenario.systems:
                is_asked = not args.systems or name in args.systems
                if is_asked and (scenario.name, name, seed) not in done:
                    folder = out / "cases" / f"{scenario.name}-{name}-{seed}"
                    case = Case(scenario, files, folder, seed)
                    yield measure(in_environment(case, known[name], args.peer_python), name, known[name], args.threads)


def in_environment(case: Case, system: System, pythons: Sequence[str]) -> Case:
    """Return a case with the Python that has what the system needs: for a peer the first of those given, or ours."""
    found = (replace(case, python=python) for python in pythons if system.is_peer)
    return next((each for each in found if not why_not(each, system)), case)


def finish(found: Sequence[Measurement], out: Path, args: argparse.Namespace) -> int:
    """Write the chart, print the comparison, and store both where that is asked for."""
    titles = {name: system.title for name, system in systems().items()}
    text = f"{comparison(found, titles)}\n\n{circumstances(_command(args))}"
    column = compared_column(found)
    chart = bar_chart(f"{column.replace('_', ' ').capitalize()}, padding left out", medians(found, column), titles)
    (out / "chart.svg").write_text(chart, encoding="utf-8")
    print(f"\n{text}\n\n{out / 'results.csv'}, {out / 'chart.svg'}")
    reference = reference_of(args.scenarios)
    code = tell_what_is_slower(found, reference)
    if args.store:
        shutil.copyfile(out / "results.csv", reference)
        image = PAGE.parent / "images" / f"acceleration-{args.scenarios.stem}.svg"
        shutil.copyfile(out / "chart.svg", image)
        replace_between_marks(PAGE, args.scenarios.stem, f"![tokens per second](images/{image.name})\n\n{text}")
    return code


def reference_of(scenarios: Path) -> Path:
    """Return where the results of a file of scenarios are stored: reference.csv, reference_gpu.csv."""
    return scenarios.with_name(f"{scenarios.stem.replace('scenarios', 'reference')}.csv")


def tell_what_is_slower(found: Sequence[Measurement], reference: Path) -> int:
    """Compare the ratios of this run with the stored ones; returns the exit code."""
    if not reference.exists():
        print(f"no stored results to compare with: {reference.name} is not there (--store writes it)")
        return 0
    column, stored = compared_column(found), read_csv(reference)
    both = medians(found, column).keys() & medians(stored, column).keys()  # so that both have the same baseline
    now, then = (
        ratios([one for one in each if (one.scenario, one.system) in both], column, BASELINES)
        for each in (found, stored)
    )
    slower = list(worse_than_stored(now, then))
    for scenario, system, ratio, before in slower:
        print(f"{scenario}, {system}: {ratio:.2f} times the baseline, {before:.2f} times in {reference.name}")
    print(f"{'something is' if slower else 'nothing is'} slower than in {reference.name}")
    return 1 if slower else 0


def _check_pythons(paths: Sequence[str]) -> None:
    for path in paths:
        if not Path(path).is_file():
            raise UserError(f"--peer-python {path}: there is no such file; name the Python of an environment")


def _line(one: Measurement) -> str:
    start = f"{one.scenario}, {one.system}, seed {one.seed}: "
    if one.problem:
        return start + one.problem
    return (
        f"{start}{one.tokens_per_cpu_second:,.0f} tokens/CPU s, peak {one.peak_mib:,.0f} MiB, "
        f"loss {one.train_loss or float('nan'):.4f}, first step after {one.first_step_seconds:.1f} s"
    )


def _key(scenario: Scenario) -> str:
    """Name what the files of a scenario depend on, so that scenarios alike share them."""
    parts = (scenario.model, scenario.data, scenario.num_rows, scenario.shape["hidden_size"], scenario.device)
    return "-".join(map(str, parts))


def _command(args: argparse.Namespace) -> str:
    threads = f" --threads {args.threads}" if args.threads != 1 else ""
    return f"{COMMAND} --scenarios benchmarks/{args.scenarios.name} --seeds {' '.join(map(str, args.seeds))}{threads}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=COMMAND, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenarios", type=Path, default=SCENARIOS, help="file of scenarios (default: %(default)s)")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="train this scenario alone")
    parser.add_argument("--systems", nargs="+", choices=list(systems()), metavar="SYSTEM", help="only by these systems")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="seeds of adapters and of the order of rows")
    parser.add_argument("--threads", type=int, default=1, help="threads of each training (default: %(default)s)")
    parser.add_argument("--out", help="folder for files and results; what it has is not measured again")
    environments = "Pythons of the environments that the other programs are in"
    parser.add_argument("--peer-python", nargs="+", default=[], metavar="PATH", help=environments)
    parser.add_argument("--tiny", action="store_true", help="a tiny model on the CPU, to see that the scenarios run")
    parser.add_argument("--store", action="store_true", help="replace the reference, and the table and chart in docs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
