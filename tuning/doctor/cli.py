"""`tune doctor`: look at the machine, and at a configuration's model, template and rows; nothing is written."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from collections.abc import Iterator, Sequence

from tuning.config.schema import TuningConfig
from tuning.doctor.finding import Finding, has_fault, table
from tuning.doctor.machine import disk_finding, fit_finding, machine_findings
from tuning.doctor.packages import core_requirements, extra_findings, known_extras, package_findings, python_finding
from tuning.doctor.services import server_findings, token_finding
from tuning.errors import EXIT_SUCCESS, EXIT_USER_ERROR, UserError
from tuning.recommender.cli import exit_code_of
from tuning.recommender.completion import completed, given_document
from tuning.recommender.own_flags import NOTHING, take_flags
from tuning.recommender.plan import make_plan

FLAGS = {"--format": "table or json", "--no-model": NOTHING}
USAGE = """usage: tune doctor [FILE] [key=value …] [--key value …] [--no-model] [--format table|json]

Look at what a run needs: Python, packages, GPUs, memory; with a configuration also its disk, trackers and extras, and
on a tiny copy of its model, with its own tokenizer, template and rows, whether gradient accumulation equals the big
batch, packed rows equal padded ones, the labels are the answers, and what is saved is what is loaded.
FILE and keys are those of the trainer. Nothing is kept on the disk.

  --no-model     look at the machine and the packages alone, which takes seconds
  --format FORM  table (for people) or json

Exit codes: 0 nothing is wrong, or only warnings; 1 something is; 203 a fault of ours.
"""
_OF_QUANTIZATION = "quantization"


def main(argv: Sequence[str] = ()) -> int:
    """Run the command; returns the exit code: 0, 1 where a check found a fault, 203 for a fault of ours."""
    if {"-h", "--help"} & set(argv):
        print(USAGE)
        return EXIT_SUCCESS
    return exit_code_of(_doctor, argv)


def _doctor(argv: Sequence[str]) -> int:
    words, given = take_flags(argv, FLAGS)
    form = given.get("--format", "table")
    if form not in ("table", "json"):
        raise UserError(f"--format: expected table or json; got '{form}'")
    has_config = any(word != "--override" for word in words)
    with contextlib.redirect_stdout(sys.stderr):  # libraries greet on standard output, where only findings belong
        findings = list(_findings(words if has_config else None, "--no-model" not in given))
    if form == "json":
        print(json.dumps([found.to_dict() for found in findings], indent=2, ensure_ascii=False))
    else:
        print(table(findings, min(shutil.get_terminal_size((100, 24)).columns, 120)))
    return EXIT_USER_ERROR if has_fault(findings) else EXIT_SUCCESS


def _findings(words: Sequence[str] | None, with_model: bool) -> Iterator[Finding]:
    config, wrong = (None, None) if words is None else _configuration(words)
    yield python_finding()
    yield from package_findings(core_requirements())
    yield from extra_findings(known_extras(), [] if config is None else asked_extras(config))
    yield from machine_findings()
    yield token_finding()
    if wrong is not None:
        yield wrong
    if words is None or config is None:
        return
    yield from server_findings(config.tracking)
    yield from _of_the_run(words, config)
    if with_model:
        yield from _of_the_model(config)


def asked_extras(config: TuningConfig) -> list[str]:
    """List the optional parts that a configuration needs; none: an empty one, which no extra is called."""
    asked = list(config.tracking.trackers or ())
    if config.quantization.load_in_4bit or config.quantization.load_in_8bit:
        asked.append(_OF_QUANTIZATION)
    return asked or [""]


def _configuration(words: Sequence[str]) -> tuple[TuningConfig | None, Finding | None]:
    from tuning.job import load_config

    try:
        return load_config(words).config, None
    except UserError as error:
        hint = "Everything below the machine was left out; mend this first."
        return None, Finding("configuration", "fault", str(error), hint)


def _of_the_run(words: Sequence[str], config: TuningConfig) -> Iterator[Finding]:
    """Look at memory and disk, for what the recommender makes of the configuration."""
    found = completed(given_document(words))
    yield fit_finding(make_plan(found))
    yield disk_finding(config, found.facts)


def _of_the_model(config: TuningConfig) -> Iterator[Finding]:
    from tuning.doctor.invariances import invariance_findings  # torch and TRL are imported from here on
    from tuning.doctor.subject import subject_of

    try:
        subject = subject_of(config)
    except UserError as error:
        yield Finding("model", "fault", str(error), "`tune preview` shows what becomes of the rows.")
        return
    yield from invariance_findings(subject)
