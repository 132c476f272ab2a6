"""Read the documents of a request as one, and remember where in the request each value stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuning.config.building import build_config, with_checked_values
from tuning.config.ir import DEFAULT, IR
from tuning.config.loading import Loaded
from tuning.config.names import Setting, settings
from tuning.data.run_datasets import unusable_datasets
from tuning.errors import ConfigError, Problem, UserError
from tuning.recommender.adapters.fms import read_files
from tuning.recommender.api_models import RecommendRequest

Location = tuple[str | int, ...]

_MADE_UP = {"data": {"training_data_path": ["rows"]}, "training": {"output_dir": "run"}}
"""What a trainer needs and a recommendation can do without."""
_OTHER_ROWS = ("datasets", "data_config_path", "task_type")
"""Fields that name rows, so that none have to be made up."""
_READERS = {
    "tuning_config": "tuning",
    "tuning_data_config": "data",
    "accelerate_config": "accelerate",
    "compute_config": "compute",
}
"""Documents of a request -> what their reader calls them."""


class RefusedDocument(UserError):
    """Problems of a request, each with its place in it."""

    def __init__(self, problems: Sequence[tuple[Location, str]]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(message for _, message in problems))


@dataclass(frozen=True)
class Given:
    """The documents of a request as one; `places` maps the paths of its values to where they stand in the request."""

    ir: IR
    places: Mapping[str, Location]
    notices: tuple[str, ...] = ()
    unmapped: tuple[str, ...] = ()

    def refused(self, problems: Sequence[Problem]) -> RefusedDocument:
        """Say where in the request each problem stands."""
        return RefusedDocument([(self._place_of(problem.path), str(problem)) for problem in problems])

    def _place_of(self, path: str) -> Location:
        parts = path.split(".")
        for size in range(len(parts), 0, -1):
            if (place := self.places.get(".".join(parts[:size]))) is not None:
                return (*place, *parts[size:])
        return ("body", "config", *parts)


def read_documents(request: RecommendRequest) -> Given:
    """Read and check the documents of a request.

    Raises:
        RefusedDocument: everything that is wrong with them.
    """
    given, loaded = _read_files(request), Loaded()
    places = dict(given.places)
    known = [setting for setting in settings(request.config or {}) if not _is_known(setting, places, loaded)]
    loaded.add(known, "request config")
    loaded.ir = given.ir.merge(loaded.ir.values, "request config")
    places |= {setting.path or setting.written: _place("config", setting.written) for setting in known}
    given = replace(given, places=places, notices=tuple(loaded.notices))
    try:
        return replace(given, ir=_checked(loaded))
    except ConfigError as error:
        raise given.refused(error.problems) from error


def _read_files(request: RecommendRequest) -> Given:
    """Read the four documents as fms-hf-tuning's files."""
    documents = {name: getattr(request, name) for name in _READERS if getattr(request, name) is not None}
    try:
        imported = read_files(**{_READERS[name]: document for name, document in documents.items()})
    except ConfigError as error:
        found = [(_place_in(documents, problem), str(problem)) for problem in error.problems]
        raise RefusedDocument(found) from error
    except (TypeError, AttributeError, LookupError) as error:  # a form that no such file has
        raise RefusedDocument([(("body", name), "is of no form that can be read") for name in documents]) from error
    names = {f"{role} config": name for name, role in _READERS.items()}
    places: dict[str, Location] = {}
    for path, source in imported.ir.sources.items():
        key = path.rpartition(".")[2]
        places[path] = ("body", names[source], *([key] if key in documents[names[source]] else []))
    return Given(imported.ir, places, unmapped=tuple(map(str, imported.unmapped)))


def _place_in(documents: Mapping[str, Mapping[str, Any]], problem: Problem) -> Location:
    names = [name for name in documents if problem.source == f"{_READERS[name]} config"] or list(documents)
    key = problem.path.rpartition(".")[2]
    return ("body", names[0], key if key in documents[names[0]] else problem.path)


def _is_known(setting: Setting, places: Mapping[str, Location], loaded: Loaded) -> bool:
    """Tell whether another document has the field already, and say so."""
    if setting.path is None or setting.path not in places:
        return False
    first = ".".join(map(str, places[setting.path][1:]))
    loaded.problems.append(Problem(setting.written, f"the field was already given as {first}; give it once"))
    return True


def _place(name: str, written: str) -> Location:
    return ("body", name, *written.split("."))


def _checked(loaded: Loaded) -> IR:
    """Check a document in which the rows and the run folder may be missing.

    Raises:
        ConfigError: it is wrong.
    """
    ir = loaded.ir
    missing = {
        section: {name: value for name, value in fields.items() if ir.get(f"{section}.{name}") is None}
        for section, fields in _MADE_UP.items()
    }
    if any(ir.get(f"data.{name}") is not None for name in _OTHER_ROWS):
        del missing["data"]
    config = build_config(ir.merge(missing, DEFAULT), (unusable_datasets,), loaded.problems)
    return with_checked_values(ir, config)
