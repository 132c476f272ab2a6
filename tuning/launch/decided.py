"""A decided run as a file: what each of its processes reads, so that none of them decides anything itself."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuning.config.building import build_config
from tuning.config.ir import DEFAULT, IR, leaves
from tuning.job import Job
from tuning.recommender.action import Declined, Kind, Level, Overridden, Recommendation


@dataclass(frozen=True)
class Decided:
    """A recipe by its name, the command that it was started with, and the job that it led to."""

    recipe: str
    argv: Sequence[str]
    job: Job

    def going_on_from(self, checkpoint: str | None) -> Decided:
        """Return the same run, to be taken up at a checkpoint, whatever it was started from; None: at its newest."""
        document = self.job.document.merge({"training": {"resume_from_checkpoint": checkpoint}}, "a restart")
        return dataclasses.replace(self, job=_job(document, self.job.recommendations))

    def as_begun(self) -> Decided:
        """Return the same run, as one that has begun already and goes on in its folder."""
        return dataclasses.replace(self, job=dataclasses.replace(self.job, goes_on=True))


def write_decided(decided: Decided, file: Path) -> None:
    """Write a decided run for its processes; the file may hold secrets, and is its owner's alone."""
    job = decided.job
    content = {
        "recipe": decided.recipe,
        "argv": list(decided.argv),
        "values": job.document.values,
        "sources": job.document.sources,
        "recommendations": [found.to_dict() for found in job.recommendations],
        "goes_on": job.goes_on,
    }
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
        json.dump(content, stream)


def read_decided(file: Path) -> Decided:
    """Read a decided run as it was written."""
    content = json.loads(file.read_text(encoding="utf-8"))
    recommendations = tuple(_recommendation(found) for found in content["recommendations"])
    job = _job(IR(content["values"], content["sources"]), recommendations)
    return Decided(content["recipe"], content["argv"], dataclasses.replace(job, goes_on=content["goes_on"]))


def _job(document: IR, recommendations: tuple[Recommendation, ...]) -> Job:
    """Build the configuration of a complete document anew.

    Defaults are left out of it: a field that nobody decided is not the same as one that somebody decided so.
    """
    values = _without_defaults(document.values, document.sources)
    sources = {path: document.sources[path] for path, _ in leaves(values)}
    return Job(build_config(IR(values, sources)), document, recommendations)


def _without_defaults(values: Mapping[str, Any], sources: Mapping[str, str], prefix: str = "") -> dict[str, Any]:
    """Leave the defaults and nulls out of an object; a dot in a key of the user's is no border between two."""
    kept: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            if inside := _without_defaults(value, sources, f"{path}."):
                kept[key] = inside
        elif sources.get(path, DEFAULT) != DEFAULT and value is not None:
            kept[key] = value
    return kept


def _recommendation(found: Mapping[str, Any]) -> Recommendation:
    fields = {
        **found,
        "level": Level(found["level"]),
        "kind": Kind(found["kind"]),
        "json_patch": tuple(found["json_patch"]),
        "declined": tuple(Declined(**_without(each, "advice")) for each in found["declined"]),
        "overridden": tuple(Overridden(**_without(each, "warning")) for each in found["overridden"]),
    }
    return Recommendation(**fields)


def _without(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if key != name}
