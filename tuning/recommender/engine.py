"""Run actions over a document until nothing changes, and explain every value that they leave behind."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tuning.config.ir import IR, leaves
from tuning.errors import ConfigError, TuningError
from tuning.recommender.action import Action, Declined, Level, Overridden, Recommendation
from tuning.recommender.crash_overrides import crashes, is_override, overridden, override_of, problems
from tuning.recommender.custom_rules import applied, check_names, rules_of
from tuning.recommender.facts import Facts, probe
from tuning.recommender.patches import allowed, holds, joined, removed, written_by

MAX_PASSES = 20

logger = logging.getLogger(__name__)


class DisagreementError(TuningError):
    """Actions that undo each other's values in every pass."""


@dataclass
class _Course:
    """One run of an engine: what each action said last, what the last pass said, and what of the user's it replaced."""

    original: IR
    latest: dict[str, Recommendation] = field(default_factory=dict)
    settled: dict[str, Recommendation] = field(default_factory=dict)
    overridden: dict[str, list[Overridden]] = field(default_factory=dict)


class RuleEngine:
    """A fixed list of actions; two engines share nothing."""

    def __init__(self, actions: Iterable[Action]) -> None:
        self.actions = tuple(actions)
        check_names(self.actions)

    def names(self) -> list[str]:
        """List the actions' names in the order in which they run."""
        return [action.name for action in self.actions]

    def run(self, ir: IR, facts: Facts) -> tuple[IR, list[Recommendation]]:
        """Complete a document; what the user set stays, and what was suggested for it is kept as advice.

        The one exception is a value that the run would crash with, once everything else is decided: a recommendation of
        level MANDATORY replaces it and says so, and `recommender.strict` makes it an error instead. The JSON patches of
        the recommendations, applied in order to the document's values, give the final values.

        Raises:
            ConfigError: under `recommender.strict`, values of the user's that the run would crash with.
            DisagreementError: the values still change after `MAX_PASSES` passes.
        """
        course, current = _Course(ir), ir
        for _ in range(MAX_PASSES):
            before = current
            current = self._pass(course, before, facts)
            if current == before:
                found = crashes(course.settled.values(), current, ir)
                if not found:
                    return current, list(_explained(course, current, self.names()))
                if ir.get("recommender.strict") is True:
                    raise ConfigError(problems(found))
                current = _with_overrides(course, current, found)
        raise DisagreementError(_disagreement(before, current, course.latest))

    def _pass(self, course: _Course, current: IR, facts: Facts) -> IR:
        """Let every action see what the ones before it left, and write what is not the user's."""
        course.settled = {}
        for action in self.actions:
            made = applied(action, current, facts)
            if made is not None:
                course.settled[action.name] = dataclasses.replace(made, action=action.name)
                patch = allowed(made.patch, course.original)
                if not holds(current, patch, _origin(action.name)):
                    current = current.merge(patch, _origin(action.name))
        course.latest |= course.settled
        return current


def recommend(
    ir: IR, facts: Facts | None = None, actions: Sequence[Action] | None = None
) -> tuple[IR, list[Recommendation]]:
    """Fill in what a document leaves out.

    `facts` are what is known of the model, the data and the machine; None: probed here. `actions` are the rules; None:
    every registered one, and those of the document's `recommender.rules_dir`, which run as code. A document with
    `recommender.recommend` false comes back as it is.

    Raises:
        UserError: the rows, the finished runs or the rules that the document names cannot be used.
        ConfigError: under `recommender.strict`, values of the user's that the run would crash with.
    """
    from tuning.recommender.actions import load_actions

    if ir.get("recommender.recommend") is False:
        return ir, []
    engine = RuleEngine([*load_actions(), *rules_of(ir)] if actions is None else actions)
    final, recommendations = engine.run(ir, probe(ir) if facts is None else facts)
    if os.environ.get("RANK", "0") == "0":
        _log(recommendations)
    return final, recommendations


def _log(recommendations: Iterable[Recommendation]) -> None:
    for made in recommendations:
        for path, value in leaves(made.patch):
            logger.info("%s = %s (%s: %s)", path, value, made.action, made.comment)
        if made.level is Level.USER_INTERVENTION:
            logger.warning("%s (%s)", made.comment, made.action)
        for declined in made.declined:
            logger.info("%s", declined)
        for replaced in made.overridden:
            logger.warning("%s (%s)", replaced, made.action)


def _origin(name: str) -> str:
    return f"action {name}"


def _with_overrides(course: _Course, current: IR, found: Iterable[tuple[str, Overridden]]) -> IR:
    """Replace values of the user's, and note each for the action that asked for it."""
    for name, replaced in found:
        course.overridden.setdefault(name, []).append(replaced)
        current = overridden(current, name, replaced)
    return current


def _explained(course: _Course, final: IR, names: Iterable[str]) -> Iterator[Recommendation]:
    """Give each action the values that are still its own at the end, as a merge patch and as a JSON patch."""
    state = course.original
    for name in names:
        made = course.latest.get(name)
        if made is None:
            continue
        own = [written_by(final.values, final.sources, origin) for origin in (_origin(name), override_of(name))]
        patch = joined(joined(*own), removed(made.patch, course.original, final))
        after = state.merge(patch, _origin(name))
        says = course.settled.get(name)
        declined = tuple(_declined(says, course.original, final)) if says is not None else ()
        replaced = tuple(course.overridden.get(name, ()))
        if patch or replaced or declined or (says is not None and says.level is not Level.SUGGESTION):
            operations = tuple(state.json_patch(after))
            found = {"patch": patch, "json_patch": operations, "declined": declined, "overridden": replaced}
            yield dataclasses.replace(made, **found)
        state = after


def _declined(made: Recommendation, original: IR, final: IR) -> Iterator[Declined]:
    for path, suggested in leaves(made.patch):
        user = original.get(path)
        kept = original.is_set_by_user(path) and not is_override(final, path)
        if kept and suggested is not None and user != suggested:
            yield Declined(path, user, suggested, made.comment)


def _disagreement(before: IR, after: IR, latest: Mapping[str, Recommendation]) -> str:
    restless = _differences(before, after)
    names = [name for name, made in latest.items() if any(path in restless for path, _ in leaves(made.patch))]
    return f"{' and '.join(names)} do not settle {', '.join(restless)} after {MAX_PASSES} passes"


def _differences(before: IR, after: IR) -> list[str]:
    old, new = ({path: (value, ir.sources.get(path)) for path, value in leaves(ir.values)} for ir in (before, after))
    return sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))
