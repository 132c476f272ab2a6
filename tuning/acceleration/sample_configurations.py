"""Write the sample configurations of plugins: `python -m tuning.acceleration.sample_configurations`.

samples.yaml says which templates each sample is made of. Written are one file for each sample, and CONTENTS.yaml, the
list of them; what is written is a function of samples.yaml and the templates, so that a test can tell a stale file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tuning.acceleration.plugins import registrations
from tuning.acceleration.stanzas import parted
from tuning.config.ir import nested
from tuning.config.plugin_file import plugins_of
from tuning.errors import ConfigError, Problem, UserError
from tuning.registry import did_you_mean
from tuning.whole_files import write_whole

FOLDER = Path(__file__).resolve().parent.parent.parent / "configs" / "acceleration"
SAMPLES_FILE, CONTENTS_FILE, TEMPLATES_FOLDER = "samples.yaml", "CONTENTS.yaml", "templates"
_WRITTEN = "# Written by `python -m tuning.acceleration.sample_configurations`"
_HEAD = f"{_WRITTEN}; change {{sources}} instead.\n"


@dataclass(frozen=True)
class Sample:
    """A line of samples.yaml: templates that are joined, and values by their paths below `plugins`."""

    shortname: str
    templates: tuple[str, ...]
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def filename(self) -> str:
        """Return the name of the file that it is written to."""
        return f"{self.shortname}.yaml"


def sample_files(folder: Path = FOLDER) -> dict[str, str]:
    """Make the text of every sample, and of CONTENTS.yaml, by file name.

    Raises:
        UserError: a template is missing, two templates contradict each other, or no plugin takes a stanza.
    """
    samples = list(_samples(folder / SAMPLES_FILE))
    made = {sample.filename: _plugins_of_sample(sample, folder / TEMPLATES_FOLDER) for sample in samples}
    texts = {sample.filename: _text(sample, made[sample.filename], folder) for sample in samples}
    entries = [_entry(sample, made[sample.filename]) for sample in samples]
    head = _HEAD.format(sources=SAMPLES_FILE)
    return {**texts, CONTENTS_FILE: head + yaml.safe_dump({"framework_configs": entries}, sort_keys=False)}


def join(first: Mapping[str, Any], second: Mapping[str, Any], path: str = "plugins") -> dict[str, Any]:
    """Join two trees of stanzas.

    Raises:
        UserError: both have a value at the same place, and not the same one.
    """
    joined = dict(first)
    for key, value in second.items():
        if key not in joined:
            joined[key] = value
        elif isinstance(joined[key], Mapping) and isinstance(value, Mapping):
            joined[key] = join(joined[key], value, f"{path}.{key}")
        elif joined[key] != value:
            raise UserError(f"{path}.{key}: one template has {joined[key]!r}, another one {value!r}")
    return joined


def main(argv: Sequence[str] | None = None) -> int:
    """Write the files, and remove samples that are no longer listed; 1 where they cannot be made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="folder of samples.yaml (default: %(default)s)")
    folder = parser.parse_args(argv).folder
    try:
        texts = sample_files(folder)
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    for name, text in texts.items():
        write_whole(folder / name, text)
    for path in folder.glob("*.yaml"):
        if path.name not in texts and path.read_text(encoding="utf-8").startswith(_WRITTEN):
            path.unlink()
    print(f"{len(texts) - 1} samples in {folder}")
    return 0


def _samples(path: Path) -> Iterator[Sample]:
    entries = _read(path)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f"{path}: expected a list of samples")
    for index, entry in enumerate(entries):
        unknown = [key for key in entry if key not in ("shortname", "templates", "values")]
        if unknown or not entry.get("shortname") or not entry.get("templates"):
            expected = "expected shortname, templates and, where it differs from them, values"
            raise ConfigError([Problem(f"[{index}]", expected, entry, f"file {path}")])
        yield Sample(str(entry["shortname"]), tuple(entry["templates"]), entry.get("values") or {})


def _plugins_of_sample(sample: Sample, templates: Path) -> dict[str, Any]:
    """Join the templates of a sample, then set its own values."""
    plugins: dict[str, Any] = {}
    for name in sample.templates:
        plugins = join(plugins, plugins_of(_read(_template(name, templates)), f"template {name}"))
    for path, value in sample.values.items():
        plugins = _with_value(plugins, nested(path, value))
    return plugins


def _with_value(node: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    inner = {
        key: _with_value(node.get(key) or {}, value) if isinstance(value, Mapping) else value
        for key, value in patch.items()
    }
    return {**node, **inner}


def _template(name: str, templates: Path) -> Path:
    path = templates / f"{name}.yaml"
    if not path.is_file():
        known = sorted(each.stem for each in templates.glob("*.yaml"))
        raise UserError(f"there is no template '{name}'. {did_you_mean(name, known or ['none'])}")
    return path


def _text(sample: Sample, plugins: Mapping[str, Any], folder: Path) -> str:
    """Write a sample: where it comes from, what the templates say of themselves, and the stanzas."""
    paths = [folder / TEMPLATES_FOLDER / f"{name}.yaml" for name in sample.templates]
    comments = [line for path in paths for line in path.read_text(encoding="utf-8").splitlines() if line[:1] == "#"]
    body = yaml.safe_dump({"plugins": dict(plugins)}, sort_keys=False)
    head = _HEAD.format(sources=f"{SAMPLES_FILE} or {TEMPLATES_FOLDER}/")
    return head + "".join(f"{line}\n" for line in comments) + body


def _entry(sample: Sample, plugins: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a sample: its configuration paths, and the device that it needs, as its plugins declare it."""
    failures: list[str] = []
    registered = list(registrations(failures))
    found = parted(plugins, {path for each in registered for path in each.paths})
    if found.problems or found.unknown:
        wrong = [*(f"plugins.{path}: no plugin takes it" for path in found.unknown), *map(str, found.problems)]
        raise UserError(f"{sample.filename}: {'; '.join(wrong)}")
    devices = {each.load().require_device for each in registered if each.is_met_by(found.given)} - {None}
    return {
        "shortname": sample.shortname,
        "plugins": sorted(found.given),
        "filename": sample.filename,
        "device": next(iter(devices), "any"),
    }


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from error


if __name__ == "__main__":
    sys.exit(main())
