"""One decision of the recommender, and what it says about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from tuning.config.ir import IR, nested
from tuning.recommender.patches import joined

if TYPE_CHECKING:
    from tuning.recommender.facts import Facts


class Level(StrEnum):
    """How much weight a recommendation has."""

    MANDATORY = "mandatory"
    """Without it the run would crash: the one level at which the engine replaces what the user set."""
    SUGGESTION = "suggestion"
    """A better value than the default."""
    USER_INTERVENTION = "user_intervention"
    """Something that only the user can put right."""


class Kind(StrEnum):
    """What a recommendation is good for."""

    SYSTEM_PERFORMANCE = "system_performance"
    MODEL_QUALITY = "model_quality"
    COMPATIBILITY = "compatibility"


@dataclass(frozen=True)
class Declined:
    """A suggestion that the user's own value kept out."""

    path: str
    user: Any
    suggested: Any
    because: str

    def __str__(self) -> str:
        return f"{self.path}: user {self.user}, suggested {self.suggested}, because: {self.because}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON; `advice` is the whole as one sentence."""
        fields = {"path": self.path, "user": self.user, "suggested": self.suggested, "because": self.because}
        return {**fields, "advice": str(self)}


@dataclass(frozen=True)
class Overridden:
    """A value of the user's that was replaced, because the run would crash with it; `now` None: it was taken out."""

    path: str
    user: Any
    source: str
    now: Any
    because: str

    def __str__(self) -> str:
        done = "taken out" if self.now is None else f"replaced by {self.now}"
        return f"{self.path}: user {self.user} (from {self.source}), {done}, or the run would crash: {self.because}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON; `warning` is the whole as one sentence."""
        return {**vars(self), "warning": str(self)}


@dataclass(frozen=True)
class Recommendation:
    """Values to write, and why. The last four fields are set by the engine.

    `patch` is a JSON merge patch (RFC 7396). `source` is the paper, page or measurement that the rule rests on.
    `json_patch` is the same change as RFC 6902 operations against the document that the earlier recommendations left.
    """

    patch: Mapping[str, Any]
    comment: str
    level: Level
    kind: Kind
    source: str
    action: str = ""
    json_patch: tuple[Mapping[str, Any], ...] = ()
    declined: tuple[Declined, ...] = field(default=())
    overridden: tuple[Overridden, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "action": self.action,
            "patch": dict(self.patch),
            "comment": self.comment,
            "level": self.level.value,
            "kind": self.kind.value,
            "source": self.source,
            "json_patch": [dict(operation) for operation in self.json_patch],
            "declined": [declined.to_dict() for declined in self.declined],
            "overridden": [overridden.to_dict() for overridden in self.overridden],
        }


class Action:
    """One rule. It holds no state, so that one instance serves any number of runs; this one always skips."""

    @property
    def name(self) -> str:
        """Return the name that the values written by this action have as their source."""
        return type(self).__name__

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Suggest values for a document, or return None to skip; a pure function of its arguments.

        The engine, not the action, sees to it that what the user set stays as it is.
        """
        return None


def suggest(
    values: Mapping[str, Any], comment: str, kind: Kind, source: str, level: Level = Level.SUGGESTION
) -> Recommendation:
    """Make a recommendation from values by dotted path; None takes a value out."""
    patch: dict[str, Any] = {}
    for path, value in values.items():
        patch = joined(patch, nested(path, value))
    return Recommendation(patch, comment, level, kind, source)
