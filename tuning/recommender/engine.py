"""Run actions over a document until nothing changes, and explain every value that they leave behind."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tuning.config.ir import IR, leaves
from tuning.errors import TuningError
from tuning.recommender.action import Action, Declined, Level, Recommendation
from tuning.recommender.facts import Facts, probe
from tuning.recommender.patches import allowed, holds, joined, removed, written_by

MAX_PASSES = 20

logger = logging.getLogger(__name__)


class DisagreementError(TuningError):
    """Actions that undo each other's values in every pass."""


class RuleEngine:
    """A fixed list of actions; two engines share nothing."""

    def __init__(self, actions: Iterable[Action]) -> None:
        self.actions = tuple(actions)

    def names(self) -> list[str]:
        """List the actions' names in the order in which they run."""
        return [action.name for action in self.actions]

    def run(self, ir: IR, facts: Facts) -> tuple[IR, list[Recommendation]]:
        """Complete a document; a value that the user set is never changed, and what was suggested for it is kept.

        The JSON patches of the recommendations, applied in order to the document's values, give the final values.

        Raises:
            DisagreementError: the values still change after `MAX_PASSES` passes.
        """
        current, latest = ir, dict[str, Recommendation]()
        for _ in range(MAX_PASSES):
            before, written = current, {}
            for action in self.actions:
                made = action.apply(current, facts)
                if made is not None:
                    latest[action.name] = made
                    written[action.name] = patch = allowed(made.patch, ir)
                    if not holds(current, patch, _origin(action.name)):
                        current = current.merge(patch, _origin(action.name))
            if current == before:
                made_in_order = {name: latest[name] for name in self.names() if name in latest}
                return current, list(_explained(ir, current, made_in_order))
        raise DisagreementError(_disagreement(before, current, written))


def recommend(
    ir: IR, facts: Facts | None = None, actions: Sequence[Action] | None = None
) -> tuple[IR, list[Recommendation]]:
    """Fill in what a document leaves out.

    `facts` are what is known of the model, the data and the machine; None: probed here. `actions` are the rules; None:
    every registered one. A document with `recommender.recommend` false comes back as it is.
    """
    from tuning.recommender.actions import load_actions

    if ir.get("recommender.recommend") is False:
        return ir, []
    engine = RuleEngine(load_actions() if actions is None else actions)
    final, recommendations = engine.run(ir, probe(ir) if facts is None else facts)
    if os.environ.get("RANK", "0") == "0":
        _log(recommendations)
    return final, recommendations


def _log(recommendations: Iterable[Recommendation]) -> None:
    for made in recommendations:
        for path, value in leaves(made.patch):
            logger.info("%s = %s (%s: %s)", path, value, made.action, made.comment)
        for declined in made.declined:
            logger.info("%s", declined)


def _origin(name: str) -> str:
    return f"action {name}"


def _explained(original: IR, final: IR, latest: Mapping[str, Recommendation]) -> Iterator[Recommendation]:
    """Give each action the values that are still its own at the end, as a merge patch and as a JSON patch."""
    state = original
    for name, made in latest.items():
        written = written_by(final.values, final.sources, _origin(name))
        patch = joined(written, removed(made.patch, original, final))
        after = state.merge(patch, _origin(name))
        declined = tuple(_declined(made, original))
        if patch or declined or made.level is not Level.SUGGESTION:
            operations = tuple(state.json_patch(after))
            yield dataclasses.replace(made, patch=patch, action=name, json_patch=operations, declined=declined)
        state = after


def _declined(made: Recommendation, original: IR) -> Iterator[Declined]:
    for path, suggested in leaves(made.patch):
        user = original.get(path)
        if original.is_set_by_user(path) and suggested is not None and user != suggested:
            yield Declined(path, user, suggested, made.comment)


def _disagreement(before: IR, after: IR, written: Mapping[str, Mapping[str, Any]]) -> str:
    restless = _differences(before, after)
    names = [name for name, patch in written.items() if any(path in restless for path, _ in leaves(patch))]
    return f"{' and '.join(names)} do not settle {', '.join(restless)} after {MAX_PASSES} passes"


def _differences(before: IR, after: IR) -> list[str]:
    old, new = ({path: (value, ir.sources.get(path)) for path, value in leaves(ir.values)} for ir in (before, after))
    return sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))
