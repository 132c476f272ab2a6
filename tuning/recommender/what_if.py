"""What would be recommended for another machine, beside what is recommended for this one."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuning.config.command_line import parse_value
from tuning.config.ir import IR, leaves, merge_patch, nested
from tuning.config.names import path_of
from tuning.errors import ConfigError, Problem
from tuning.recommender.completion import Completed, checked, completed
from tuning.recommender.hardware_facts import probe_hardware
from tuning.recommender.memory_plan import gib
from tuning.recommender.plan import Plan, make_plan

_SOURCE = "--what-if"
_LAUNCHED = ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "ACCELERATE_USE_FSDP")
"""What the launcher of this machine says of its processes, which means nothing for another machine."""


@dataclass(frozen=True)
class Difference:
    """One thing that differs between two machines; None: undecided there."""

    path: str
    here: Any
    there: Any


def machine(words: Sequence[str]) -> dict[str, Any]:
    """Read `gpus=8 gpu_memory_gib=80 …` as values of the section `compute`.

    Raises:
        ConfigError: a word is no setting of that section.
    """
    given: dict[str, Any] = {}
    problems: list[Problem] = []
    for word in words:
        key, _, text = word.partition("=")
        path = path_of(key)
        if path is None or not path.startswith("compute."):
            hint = "Write other settings before it, or after another flag."
            problems.append(Problem(key, "expected a field of compute, such as gpus or ram_gib", text, _SOURCE, hint))
        else:
            given = merge_patch(given, nested(path, parse_value(text, path)))
    if problems:
        raise ConfigError(problems)
    return given


def elsewhere(here: Completed, words: Sequence[str]) -> Completed:
    """Complete the same document for another machine; the model and the rows are not read again.

    Raises:
        ConfigError: the words do not describe a machine.
    """
    given = checked(here.given.merge(machine(words), _SOURCE))
    environ = {name: value for name, value in os.environ.items() if name not in _LAUNCHED}
    return completed(given, replace(here.facts, hardware=probe_hardware(given, environ)))


def differences(here: Completed, there: Completed) -> list[Difference]:
    """List what is decided differently, and what that makes of the run."""
    values = [
        Difference(path, here.ir.get(path), there.ir.get(path))
        for path in dict.fromkeys(path for ir in (here.ir, there.ir) for path, _ in leaves(ir.values))
        if not path.startswith("compute.") and _plain(here.ir, path) != _plain(there.ir, path)
    ]
    first, second = (_run(make_plan(each)) for each in (here, there))
    run = [Difference(name, first[name], second[name]) for name in first if first[name] != second[name]]
    return [*values, *run]


def side_by_side(found: Sequence[Difference], words: Sequence[str]) -> str:
    """Write differences as a table with one column for each machine."""
    if not found:
        return f"Nothing changes with {' '.join(words)}."
    rows = [("", "as it is", f"with {' '.join(words)}")]
    rows += [(each.path, _text(each.here), _text(each.there)) for each in found]
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "\n".join(f"{name:<{first}}  {here:<{second}}  {there}".rstrip() for name, here, there in rows)


def _run(plan: Plan) -> dict[str, Any]:
    return {
        "processes": plan.num_processes,
        "sequences per update": plan.sequences_per_update,
        "optimizer steps": plan.num_steps,
        "memory needed": gib(plan.memory.total) if plan.memory is not None else None,
        "memory to plan with": gib(plan.budget_bytes) if plan.budget_bytes is not None else None,
        "fits": plan.fits,
    }


def _plain(ir: IR, path: str) -> str:
    return json.dumps(ir.get(path), sort_keys=True)


def _text(value: Any) -> str:
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
