"""`tune plan`: say what a configuration will run, and by the exit code whether the device holds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tuning.errors import EXIT_SUCCESS
from tuning.recommender.cli import exit_code_of, with_rules_dir
from tuning.recommender.completion import Completed, completed, given_document
from tuning.recommender.own_flags import NOTHING, take_flags
from tuning.recommender.plan import Plan, decided_values, make_plan
from tuning.recommender.plan_report import plan_report
from tuning.recommender.planned_audit import audit_of
from tuning.recommender.views import as_format, check_format

if TYPE_CHECKING:
    from tuning.recommender.pace import Pace

EXIT_DOES_NOT_FIT = 2
EXIT_NOT_KNOWN = 3
FLAGS = {
    "--probe": NOTHING,
    "--memory": "estimated or traced",
    "--format": "table, json or yaml",
    "--rules-dir": "a folder",
}
USAGE = """usage: tune plan [FILE] [key=value …] [--key value …] [--probe] [--memory estimated|traced]
                 [--format table|json|yaml] [--rules-dir DIR]

Say what a configuration will run: every value with its source, updates, steps and tokens, the rows that are cut, and
the memory of one process by part against what there is. Nothing is written. FILE and keys are those of the trainer;
gpus=8 gpu_memory_gib=80 and the other fields of compute plan for another machine.

  --probe        train a few steps here, in a folder that goes away, and estimate the time; it loads the weights
  --memory KIND  estimated: in closed form, at once. traced: run one step whose tensors have no contents; it takes
                 seconds, imports torch and loads no weights
  --format FORM  table (for people), json or yaml

Exit codes: 0 it fits; 1 something in the input that you can mend, with data.audit=fail faults of the rows;
2 it does not fit; 3 it is not known whether it fits; 203 a fault of ours.
"""


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code: 0 fits, 1 the user's input, 2 does not fit, 3 not known, 203 fault."""
    if not argv or {"-h", "--help"} & set(argv):
        print(USAGE)
        return EXIT_SUCCESS
    return exit_code_of(_plan, argv)


def _plan(argv: Sequence[str]) -> int:
    words, given = take_flags(argv, FLAGS)
    form = given.get("--format", "table")
    check_format(form)
    found = completed(given_document(with_rules_dir(words, given)))
    plan = make_plan(found, given.get("--memory", "estimated"))
    pace = _pace(found, plan) if "--probe" in given and plan.fits is not False else None
    audited = audit_of(found)
    values = [{"path": path, "value": value, "from": source} for path, value, source in decided_values(found.ir)]
    document = {**plan.to_dict(), **_time(plan, pace), "audit": audited.to_dict(), "values": values}
    text = [plan_report(found, plan, audited.lines()), *_time_text(plan, pace, given)]
    print(as_format(document, "\n".join(text), form))
    audited.refuse()
    return EXIT_NOT_KNOWN if plan.fits is None else EXIT_SUCCESS if plan.fits else EXIT_DOES_NOT_FIT


def _pace(found: Completed, plan: Plan) -> Pace:
    from tuning.recommender.pace import measure_pace

    return measure_pace(found, plan)


def _time(plan: Plan, pace: Pace | None) -> dict[str, float | None]:
    if pace is None:
        return {}
    return {"seconds_per_pass": pace.seconds_per_pass, "seconds_of_training": pace.seconds(plan)}


def _time_text(plan: Plan, pace: Pace | None, given: Mapping[str, Any]) -> list[str]:
    if pace is None:
        return ["Nothing was timed, because it does not fit."] if "--probe" in given else []
    told = f"One pass of {plan.step.rows} rows takes {pace.seconds_per_pass:.3g} s here (median of {pace.num_steps})"
    seconds = pace.seconds(plan)
    if seconds is None:
        return [f"{told}; how many there are is not known."]
    alone = "" if plan.num_processes == 1 else ", where each process is as fast as this one alone"
    return [f"{told}: about {_duration(seconds)} of training, without evaluation and saving{alone}."]


def _duration(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.2g} seconds" if seconds < 100 else f"{seconds:.0f} seconds"
