"""What is not as a manifest says: data and model, versions and machine, results."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tuning.config.schema import TuningConfig
from tuning.fingerprints import data_files, data_fingerprint, model_files
from tuning.row_digests import changed_rows
from tuning.score_names import is_score
from tuning.trackers.environment import git_state, hardware, package_versions

_SHORT = 12


def refusals(manifest: Mapping[str, Any], config: TuningConfig) -> list[str]:
    """Name every file of data and model that is not what it was, before and now; nothing where all is the same."""
    lines = [*_changed_data(manifest, config), *_changed_model(manifest, config)]
    missing = [name for name in ("data", "model") if name not in manifest]
    return lines + [f"{name}: the manifest has no fingerprint of it (the run ended too early)" for name in missing]


def different_places(manifest: Mapping[str, Any]) -> list[str]:
    """Tell which versions, code and hardware are not those of the run."""
    recorded = manifest.get("environment", {})
    packages = recorded.get("packages", {})
    found = {"python": platform.python_version(), **package_versions(tuple(packages))}
    before = {"python": recorded.get("python"), **{name: packages[name] for name in packages if name != "tuning"}}
    lines = [
        f"{name}: {was} -> {found.get(name, 'not installed')}" for name, was in before.items() if found.get(name) != was
    ]
    folder = Path(str(recorded.get("working_directory", ".")))
    lines += _differing("git", recorded.get("git", {}), git_state(folder) if folder.is_dir() else {})
    lines += _differing("hardware", recorded.get("hardware", {}), hardware())
    return lines + [f"data.{name}: from the Hub; not compared" for name in _of_the_hub(manifest)]


def different_results(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Set side by side the results that are not the same; times are left out."""
    old, new = before.get("results", {}), after.get("results", {})
    names = [name for name in dict.fromkeys([*old, *new]) if is_score(name) and name != "model_folder"]
    lines = [
        f"{name}: {_shown(old.get(name))} -> {_shown(new.get(name))}"
        for name in names
        if old.get(name) != new.get(name)
    ]
    return [f"results: {len(names) - len(lines)} of {len(names)} the same", *lines]


def _changed_data(manifest: Mapping[str, Any], config: TuningConfig) -> Iterator[str]:
    before = manifest.get("data", {})
    digests = manifest.get("row_digests", {})
    recorded = {file["path"]: file for split in before.values() for file in _files(split)}
    gone = [path for path in sorted({*recorded, *digests}) if not Path(path).is_file()]
    if gone:
        yield from (f"data: {path} is gone{_was(recorded.get(path))}" for path in gone)
        return
    now = data_fingerprint(config.data)
    present = {str(file.absolute()) for file in data_files(config.data)}
    for split in sorted({*before, *now}):
        old, new = before.get(split, {}), now.get(split, {})
        if old.get("sha256") != new.get("sha256"):
            yield f"data.{split}: {_size(old)} -> {_size(new)}"
            yield from _changed_files(_by_path(old), _by_path(new), digests, present)


def _changed_files(
    old: Mapping[str, Any], new: Mapping[str, Any], digests: Mapping[str, Any], present: set[str]
) -> Iterator[str]:
    for path in sorted({*old, *new}):
        if path not in old and path not in digests:
            yield f"  {path}: new"
        elif old.get(path, {}).get("sha256") != new.get(path, {}).get("sha256") and path in present:
            yield f"  {path}: {_size(old.get(path, {}))} -> {_size(new.get(path, {}))}"
            if digests.get(path):
                yield from (f"    {line}" for line in changed_rows(digests[path], Path(path)))
            else:
                yield "    which row is not known: no digests of the rows were kept of so large a file"


def _changed_model(manifest: Mapping[str, Any], config: TuningConfig) -> Iterator[str]:
    old = manifest.get("model", {}).get("files", {})
    new = model_files(config.model)
    for name in sorted({*old, *new}):
        if old.get(name) != new.get(name):
            yield f"model: {name}: {_size(old.get(name, {}))} -> {_size(new.get(name, {}))}"


def _files(split: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """List the described files of a split: one, or the first of several."""
    if "files" in split:
        return split["files"]
    return [split] if isinstance(split.get("path"), str) and "sha256" in split else []


def _by_path(split: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {file["path"]: file for file in _files(split)}


def _of_the_hub(manifest: Mapping[str, Any]) -> list[str]:
    return [name for name, split in manifest.get("data", {}).items() if split.get("source") == "hub"]


def _differing(what: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [f"{what} {name}: {before[name]} -> {now.get(name)}" for name in before if before[name] != now.get(name)]


def _size(described: Mapping[str, Any]) -> str:
    """Write rows, bytes and the beginning of the SHA-256 of a file."""
    if not described:
        return "none"
    rows = f"{described['rows']} rows, " if "rows" in described else ""
    return f"{rows}{described.get('bytes')} bytes, SHA-256 {str(described.get('sha256'))[:_SHORT]}"


def _was(described: Mapping[str, Any] | None) -> str:
    return f" (it had {_size(described)})" if described else ""


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)
