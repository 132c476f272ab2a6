"""Our own document, in sections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tuning.config.ir import IR, merge_patch, nested
from tuning.config.loading import load_mapping
from tuning.config.names import RETIRED, field_paths, settings
from tuning.config.schema import sections
from tuning.errors import ConfigError, Problem
from tuning.recommender.action import Recommendation
from tuning.recommender.adapters.adapter import Adapter, Exported, Imported, Unmapped
from tuning.recommender.adapters.launch import launch_command
from tuning.recommender.adapters.mapping import checked

CONFIG_FILE = "config.json"
_REQUIRED = frozenset({"model_name_or_path", "training_data_path", "output_dir"})


class NativeAdapter(Adapter):
    """The format that the trainer takes; the sections may be left out, and older names are understood."""

    name = "native"

    def recognises(self, document: Mapping[str, Any]) -> bool:
        """Tell whether a document has sections of ours, or the three fields that a run needs."""
        in_sections = any(isinstance(document.get(name), Mapping) for name in ("training", "peft", "data"))
        known = [setting for setting in settings(document) if setting.path is not None]
        return (in_sections and bool(known)) or document.keys() >= _REQUIRED

    def read(self, document: Mapping[str, Any], source: str) -> Imported:
        """Resolve every spelling of a field; names that are unknown or retired are unmapped.

        Raises:
            ConfigError: a field given twice, or a value that its field does not take.
        """
        recorded = document.get("values") if document.keys() == {"values", "sources"} else None
        document = recorded if isinstance(recorded, Mapping) else document
        loaded = load_mapping(document, source)
        unknown = {setting.written for setting in settings(document) if setting.path is None} - sections().keys()
        wrong = [problem for problem in loaded.problems if problem.path not in unknown]
        if wrong := [*wrong, *wrong_values(loaded.ir, source)]:
            raise ConfigError(wrong)
        lost = [Unmapped(found.path, found.value, _why(found)) for found in loaded.problems if found.path in unknown]
        return Imported(loaded.ir, (*lost, *_retired(document)))

    def write(self, ir: IR, recommendations: Sequence[Recommendation] = ()) -> Exported:
        """Write one file of our own, without what no section declares: the trainer would refuse it."""
        values, lost = declared(ir)
        return Exported({CONFIG_FILE: values}, launch_command(ir, CONFIG_FILE), lost)


def declared(ir: IR) -> tuple[dict[str, Any], tuple[Unmapped, ...]]:
    """Split a document into the fields that sections declare, and what actions or other programs added."""
    values: dict[str, Any] = {}
    lost: list[Unmapped] = []
    paths = set(field_paths().values())
    for key, value in ir.values.items():
        inside = value.items() if key in sections() and isinstance(value, Mapping) else ()
        for path, item in [(f"{key}.{name}", item) for name, item in inside] or [(key, value)]:
            if path in paths:
                values = merge_patch(values, nested(path, item))
            elif item not in (None, {}):
                lost.append(Unmapped(path, item, "no section declares such a field"))
    return values, tuple(lost)


def wrong_values(ir: IR, source: str) -> list[Problem]:
    """List the values that their fields do not take."""
    found: list[Problem] = []
    for path in field_paths().values():
        try:
            checked(path, ir.get(path))
        except ValueError as error:
            found.append(Problem(path, str(error), ir.get(path), source))
    return found


def _why(problem: Problem) -> str:
    return " ".join(filter(None, (problem.expected, problem.hint)))


def _retired(document: Mapping[str, Any]) -> list[Unmapped]:
    unknown = [(setting, setting.written.rpartition(".")[2]) for setting in settings(document) if setting.path is None]
    return [
        Unmapped(setting.written, setting.value, f"changes nothing: {RETIRED[name]}")
        for setting, name in unknown
        if name in RETIRED
    ]
