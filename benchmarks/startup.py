"""Where the time to the first optimizer step goes, beside `trl sft` on the same job: `python -m benchmarks.startup`.

Each start is a process of its own with cold caches; the probe times imports and the functions named here. A phase is
counted without the phases inside of it, so that they add up; what runs beside the main thread is told by itself.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.run import PAGE, SCENARIOS, chosen
from benchmarks.run_case import STEPS_FILE, environment, run
from benchmarks.scenario_files import write_files
from benchmarks.scenarios import load_scenarios
from benchmarks.systems import Case, System, systems
from benchmarks.tables import circumstances, replace_between_marks, table
from tuning.errors import TuningError, UserError

_CONFIGURATION = "configuration read, completed and checked"
COMPARED = ("tuning", "tuning-plain", "trl-cli")
IMPORTS = "imports"
_IMPORTED = ("torch", "transformers", "transformers.trainer", "accelerate", "datasets", "peft", "trl", "bitsandbytes")
_IMPORTED_TOO = ("transformers.modeling_utils", "trl.trainer.sft_config", "trl.trainer.sft_trainer", "numpy", "pyarrow")
PHASES: Mapping[str, str] = {
    "tuning.job:load_config": _CONFIGURATION,
    "trl.scripts._hf_argparser:HfArgumentParser.parse_args_into_dataclasses": _CONFIGURATION,
    "tuning.preparation:prepare": "rows to tokens",
    "trl.trainer.sft_trainer:SFTTrainer._prepare_dataset": "rows to tokens",
    "datasets.load:load_dataset": "rows to tokens",
    "tuning.model:load_model": "model loaded",
    "transformers.modeling_utils:PreTrainedModel.from_pretrained": "model loaded",
    "trl.trainer.sft_trainer:SFTTrainer.__init__": "trainer made",
    "transformers.trainer:Trainer.train": "first step",
}
"""Function -> the phase that its time belongs to."""
REST = "the rest: Python itself, launchers, trackers, smaller imports"
_ORDER = (IMPORTS, *dict.fromkeys(PHASES.values()), REST)


@dataclass(frozen=True)
class Span:
    """One call: its phase, and when it began and ended, in seconds of the clock and of the CPU."""

    phase: str
    begin: float
    end: float
    cpu_begin: float
    cpu_end: float
    is_main: bool = True

    def cut(self, at: float, cpu: float) -> Span:
        """Return what of it lies before a moment."""
        return replace(self, end=min(self.end, at), cpu_end=min(self.cpu_end, cpu))


@dataclass(frozen=True)
class Start:
    """A measured start: seconds and CPU seconds to the end of the first step, and of each phase."""

    seconds: float
    cpu_seconds: float
    phases: Mapping[str, tuple[float, float]]


def start_of(lines: Iterable[Mapping[str, Any]], started: float) -> Start:
    """Sum the phases of a start from the probe's lines; `started` is when the process was.

    Raises:
        ValueError: no step was made.
    """
    lines = list(lines)
    first = next((line for line in lines if line.get("step") == 1), None)
    if first is None:
        raise ValueError("no step was made")
    spans = [_span(line).cut(first["at"], first["cpu"]) for line in lines if "phase" in line]
    spans = [span for span in spans if span.begin < first["at"]]
    phases = own_times([span for span in spans if span.is_main])
    total = (first["at"] - started, first["cpu"])
    known = [sum(each[index] for each in phases.values()) for index in (0, 1)]
    phases[REST] = (total[0] - known[0], total[1] - known[1])
    for span in spans:
        if not span.is_main:
            name = f"beside it: {span.phase}"
            seconds, cpu = phases.get(name, (0.0, 0.0))
            phases[name] = (seconds + span.end - span.begin, cpu)
    return Start(*total, phases)


def own_times(spans: Sequence[Span]) -> dict[str, tuple[float, float]]:
    """Sum by phase the time and the CPU time of nested spans, each without the spans inside of it."""
    found: dict[str, tuple[float, float]] = {}
    open_spans: list[Span] = []
    for span in sorted(spans, key=lambda one: (one.begin, -one.end)):
        while open_spans and open_spans[-1].end <= span.begin:
            open_spans.pop()
        _add(found, span, 1)
        if open_spans:
            _add(found, replace(span, phase=open_spans[-1].phase), -1)
        open_spans.append(span)
    return found


def measure(case: Case, system: System, threads: int) -> Start:
    """Start one system, and let it make two steps.

    Raises:
        TuningError: it did not end well.
    """
    shutil.rmtree(case.folder, ignore_errors=True)
    case.folder.mkdir(parents=True)
    command = system.command(case)
    marks = (*_IMPORTED, *_IMPORTED_TOO, *PHASES)
    started = time.monotonic()
    ended = run(command, case.folder, environment(case.folder, case.python, threads, marks))
    file = case.folder / STEPS_FILE
    if ended != 0 or not file.exists():
        raise TuningError(f"{' '.join(command)} ended with {ended}; its log is in {case.folder}")
    return start_of(map(json.loads, file.read_text(encoding="utf-8").splitlines()), started)


def report(found: Mapping[str, Start]) -> str:
    """Write the phases as a table: for each system seconds, and CPU seconds behind a stroke."""
    known = systems()
    names = [name for name in (*_ORDER, *_others(found)) if any(name in start.phases for start in found.values())]
    rows = [[name, *(_cell(start.phases.get(name)) for start in found.values())] for name in names]
    totals = [_cell((start.seconds, start.cpu_seconds)) for start in found.values()]
    header = ["phase, s / CPU s", *(known[name].title for name in found)]
    return table(header, [*rows, ["**to the end of the first step**", *totals]])


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write the table; 1 where a system does not start."""
    args = _parser().parse_args(argv)
    folder = Path(args.out or tempfile.mkdtemp(prefix="startup-")).resolve()
    try:
        (scenario,) = chosen(load_scenarios(args.scenarios, list(systems())), [args.only], "scenario")
        scenario = (scenario.tiny() if args.tiny else scenario).model_copy(update={"steps": 2})
        files = write_files(scenario, folder / "files")
        found = {}
        for name in COMPARED:
            cases = [Case(scenario, files, folder / f"{name}-{number}", 0) for number in range(args.repeats)]
            starts = [measure(case, systems()[name], args.threads) for case in cases]
            found[name] = sorted(starts, key=lambda one: one.seconds)[len(starts) // 2]
    except (UserError, TuningError) as error:
        print(error, file=sys.stderr)
        return 1
    repeats = f"of {args.repeats} starts each the middle one" if args.repeats > 1 else "one start each"
    text = f"{report(found)}\n\n{circumstances('python -m benchmarks.startup')} Scenario `{scenario.name}`, {repeats}."
    print(text)
    if args.store:
        replace_between_marks(PAGE, "startup", text)
    return 0


def _span(line: Mapping[str, Any]) -> Span:
    phase = PHASES.get(line["phase"], IMPORTS)
    return Span(phase, line["begin"], line["end"], line["cpu_begin"], line["cpu_end"], line["is_main"])


def _add(found: dict[str, tuple[float, float]], span: Span, sign: int) -> None:
    seconds, cpu = found.get(span.phase, (0.0, 0.0))
    found[span.phase] = (seconds + sign * (span.end - span.begin), cpu + sign * (span.cpu_end - span.cpu_begin))


def _others(found: Mapping[str, Start]) -> list[str]:
    return list(dict.fromkeys(name for start in found.values() for name in start.phases if name not in _ORDER))


def _cell(times: tuple[float, float] | None) -> str:
    return "" if times is None else f"{times[0]:.2f} / {times[1]:.2f}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenarios", type=Path, default=SCENARIOS, help="file of scenarios (default: %(default)s)")
    parser.add_argument(
        "--only", default="full", metavar="NAME", help="scenario that is started (default: %(default)s)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="starts of each system (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="threads of each (default: %(default)s)")
    parser.add_argument("--out", help="folder for files and logs (default: a new one for temporary files)")
    parser.add_argument("--tiny", action="store_true", help="a tiny model and few rows")
    parser.add_argument("--store", action="store_true", help="replace the table in docs/acceleration-measured.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
