"""Whether the packages are there, in the versions that this one asks for, and can be imported."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, metadata, version
from typing import NamedTuple

from packaging.requirements import Requirement

from tuning.doctor.finding import Finding

DISTRIBUTION = "tuning"
_MODULES = {"scikit-learn": "sklearn"}
"""Distributions whose module has another name, but for - instead of _."""
_GROUPS = frozenset({"all", "dev"})
_IMPORT_SECONDS = 120
_NUM_IMPORTS = 4


class Extra(NamedTuple):
    """An optional part and the packages that it asks for."""

    name: str
    requirements: list[Requirement]


def python_finding(asked: str | None = None) -> Finding:
    """Compare this Python with the range that the package asks for; `asked` None: as its metadata say."""
    here = ".".join(map(str, sys.version_info[:3]))
    asked = asked or _metadata_line("Requires-Python")
    if asked is None or Requirement(f"python{asked}").specifier.contains(here):
        return Finding("Python", "ok", f"{here} ({sys.executable})")
    return Finding("Python", "fault", f"{here}, and {asked} is needed", "Make the environment with a newer Python.")


def package_findings(requirements: Sequence[Requirement]) -> Iterator[Finding]:
    """Compare the packages that every run needs with their ranges."""
    if not requirements:
        told = "the package is not installed, so its ranges of versions are not known"
        yield Finding("packages", "skipped", told, "Install it: pip install .")
        return
    wrong = [found for each in requirements if (found := _wrong_version(each)) is not None]
    if not wrong:
        yield Finding("packages", "ok", f"{len(requirements)} packages in the versions that are asked for")
    for requirement, told in wrong:
        hint = f"pip install '{requirement.name}{requirement.specifier}'"
        yield Finding(requirement.name, "fault", told, hint)


def extra_findings(extras: Sequence[Extra], asked: Collection[str]) -> Iterator[Finding]:
    """Look at each optional part; one that the run asks for must be there, and be one that can be imported.

    Without a run (`asked` empty) every part that is installed is imported, each in a process of its own.
    """
    looked_at = [extra for extra in extras if not asked or extra.name in asked]
    with ThreadPoolExecutor(_NUM_IMPORTS) as pool:
        yield from pool.map(lambda extra: _extra_finding(extra, is_asked=extra.name in asked), looked_at)


def core_requirements() -> list[Requirement]:
    """List what every run needs, as the package's metadata say; empty where it is not installed."""
    return [each for each in _requirements() if _is_wanted(each, "")]


def known_extras() -> list[Extra]:
    """List the optional parts of the package, as its metadata say."""
    names = [name for name in _metadata_lines("Provides-Extra") if name not in _GROUPS]
    optional = [each for each in _requirements() if not _is_wanted(each, "")]
    return [Extra(name, [each for each in optional if _is_wanted(each, name)]) for name in names]


def _is_wanted(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _extra_finding(extra: Extra, is_asked: bool) -> Finding:
    name = f"extra {extra.name}"
    install = f"pip install '{DISTRIBUTION}[{extra.name}]'"
    missing = [each.name for each in extra.requirements if _version(each.name) is None]
    if missing:
        told = f"not installed: {', '.join(missing)}"
        return Finding(name, "fault" if is_asked else "skipped", told, install if is_asked else "")
    wrong = [found[1] for each in extra.requirements if (found := _wrong_version(each)) is not None]
    if wrong:
        return Finding(name, "fault" if is_asked else "warning", "; ".join(wrong), install)
    for each in extra.requirements:
        if (why := import_problem(_module_of(each.name))) is not None:
            told = f"{each.name} is installed and cannot be imported: {why}"
            return Finding(name, "fault" if is_asked else "warning", told, f"Install it anew: {install}")
    versions = ", ".join(f"{each.name} {_version(each.name)}" for each in extra.requirements)
    return Finding(name, "ok", versions)


def import_problem(module: str) -> str | None:
    """Import a module in a process of its own; return the last line of its error, or None where it works."""
    command = [sys.executable, "-c", f"import {module}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_IMPORT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"it takes longer than {_IMPORT_SECONDS} seconds"
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["it ends the process"])[-1]


def _wrong_version(requirement: Requirement) -> tuple[Requirement, str] | None:
    found = _version(requirement.name)
    if found is None:
        return requirement, f"{requirement.name} is not installed"
    if requirement.specifier.contains(found, prereleases=True):
        return None
    return requirement, f"{requirement.name} {found} is installed, and {requirement.specifier} is asked for"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _module_of(name: str) -> str:
    return _MODULES.get(name, name.replace("-", "_"))


def _requirements() -> list[Requirement]:
    found = (Requirement(line) for line in _metadata_lines("Requires-Dist"))
    return [each for each in found if each.name != DISTRIBUTION]


def _metadata_line(name: str) -> str | None:
    return next(iter(_metadata_lines(name)), None)


def _metadata_lines(name: str) -> list[str]:
    try:
        return metadata(DISTRIBUTION).get_all(name) or []
    except PackageNotFoundError:
        return []
