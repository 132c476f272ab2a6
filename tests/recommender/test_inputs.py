from __future__ import annotations

from dataclasses import replace

import pytest
from made_up_facts import LARGE, NOTHING, SMALL, decided

from tuning.config.ir import IR
from tuning.recommender.action import Action, Kind, Recommendation, suggest
from tuning.recommender.actions import load_actions
from tuning.recommender.engine import RuleEngine
from tuning.recommender.facts import Facts
from tuning.recommender.inputs import inputs_of


class ByRows(Action):
    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        rows = facts.data.num_rows if facts.data is not None else None
        return suggest({"training.seed": rows or ir.get("training.max_steps")}, "", Kind.MODEL_QUALITY, "")


def test_what_an_action_reads_is_noted_and_nothing_else() -> None:
    assert inputs_of(ByRows(), decided(training__max_steps=5), SMALL) == {"facts.data.num_rows": 2000}
    nothing = replace(SMALL, data=None)
    assert inputs_of(ByRows(), decided(training__max_steps=5), nothing) == {
        "facts.data": None,
        "training.max_steps": 5,
    }


class ByGpus(Action):
    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        assert facts.hardware is not None and facts.data is not None
        values = {"training.seed": len(facts.data.row_lengths)}
        return suggest(values, "", Kind.MODEL_QUALITY, "") if facts.hardware.gpu is not None else None


def test_of_a_long_list_only_its_length_is_told() -> None:
    inputs = inputs_of(ByGpus(), IR(), LARGE)
    assert inputs["facts.data.row_lengths"] == "2,000 items"
    assert inputs["facts.hardware.gpus"] == [{"name": "a GPU", "memory_bytes": 80 << 30, "compute_capability": [8, 0]}]


@pytest.mark.parametrize("facts", [SMALL, LARGE, NOTHING])
def test_every_action_decides_alike_while_it_is_watched(facts: Facts) -> None:
    actions = load_actions()
    final, made = RuleEngine(actions).run(IR(), facts)
    read = {action.name: inputs_of(action, final, facts) for action in actions}
    assert {each.action for each in made} <= {name for name, inputs in read.items() if inputs}
    assert RuleEngine(actions).run(final, facts)[0] == final
