"""One thing that the audit found, and how it is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tuning.data.shown_tokens import harmless

Level = Literal["warning", "remark"]
Split = Literal["train", "validation"]

TOLERATED_SHARE = 0.01
"""Share of rows up to which a finding is a remark, which fails no run. Stated by us: one row in a hundred changes
little of a mean over rows, and the recommender's own max_length cuts as many."""
MOST_PLACES_TOLD = 10


@dataclass(frozen=True)
class Finding:
    """One thing that the audit found in the rows of a split.

    `share` is of the rows of the split, 0 to 1. `places` name the rows; `same_as`, of the same length or empty, those
    that they repeat.
    """

    code: str
    level: Level
    split: Split
    count: int
    share: float
    what: str
    to_do: str
    places: tuple[str, ...] = ()
    same_as: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Finding:
        """Make a finding of its plain JSON."""
        return cls(**{**document, "places": (*document["places"],), "same_as": (*document["same_as"],)})

    def __str__(self) -> str:
        told = f"{self.code}: {self.count:,} ({self.share:.2%}) of the {self.split} rows {self.what}. {self.to_do}"
        return harmless(f"{told} Rows: {self._places()}" if self.places else told)

    def _places(self) -> str:
        more = len(self.places) - MOST_PLACES_TOLD
        told: list[str] = []
        file = None
        for place, same in zip(self.places, self.same_as or ("",) * len(self.places), strict=True):
            told.append(_without(file, place) + (f" (as {_without(_file_of(place), same)})" if same else ""))
            file = _file_of(place)
            if len(told) == MOST_PLACES_TOLD:
                break
        return ", ".join([*told, *([f"and {more:,} more"] if more > 0 else [])])


def _file_of(place: str) -> str:
    return place.partition(" row ")[0]


def _without(file: str | None, place: str) -> str:
    """Leave out the name of a file that was just named."""
    return place if file is None or _file_of(place) != file else place[len(file) + 1 :]


def level_of(share: float) -> Level:
    """Tell whether a share of rows is more than a remark."""
    return "warning" if share > TOLERATED_SHARE else "remark"
