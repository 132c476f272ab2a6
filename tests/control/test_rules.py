from __future__ import annotations

import math
from typing import Any

import pytest

from tuning.config.building import build_config
from tuning.config.loading import load_mapping
from tuning.config.schema import TuningConfig
from tuning.control.metrics import History
from tuning.control.rules import Rule, rules_of, waits
from tuning.control.state import ControlState

NAN = math.nan


def config_of(**control: Any) -> TuningConfig:
    required = {"model_name_or_path": "m", "training_data_path": "d", "output_dir": "o"}
    return build_config(load_mapping({**required, **control}).ir)


def rule_of(**control: Any) -> Rule:
    (rule,) = rules_of(config_of(**control))
    return rule


def history_of(*entries: dict[str, float]) -> History:
    history = History()
    for entry in entries:
        history.add(entry)
    return history


def losses(*values: float) -> History:
    return history_of(*({"loss": value} for value in values))


def evaluations(*values: float) -> History:
    return history_of(*({"eval_loss": value} for value in values))


@pytest.mark.parametrize(
    ("values", "expected"),
    [((3.0, 2.0, 1.0), 0), ((1.0, 2.0, 3.0), 2), ((3.0, NAN, NAN), 2), ((3.0, 2.95, 2.9), 2), ((3.0, 2.0, 2.5), 1)],
)
def test_waits_are_the_values_since_the_best_one(values: tuple[float, ...], expected: int) -> None:
    assert waits(values, 0.2, greater_is_better=False) == expected
    assert waits([-value for value in values], 0.2, greater_is_better=True) == expected


@pytest.mark.parametrize(
    ("control", "quiet", "acting"),
    [
        ({"stop_on_nan": True}, losses(1.0), losses(1.0, NAN)),
        ({"stop_on_nan": True}, evaluations(1.0), evaluations(math.inf)),
        ({"early_stopping_patience": 2}, evaluations(3.0, 2.0, 2.1), evaluations(3.0, 2.0, 2.1, 2.2)),
        ({"save_on_improvement": True}, evaluations(3.0, 3.1), evaluations(3.0, 3.1, 2.9)),
        (
            {"loss_spike_factor": 2, "loss_spike_window": 3},
            losses(1.0, 1.0, 1.0, 1.9),
            losses(9.0, 1.0, 1.0, 1.0, 2.1),
        ),
        ({"loss_spike_factor": 2, "loss_spike_window": 3}, losses(1.0, 1.0, 9.0), losses(1.0, 1.0, 1.0, 9.0)),
        ({"plateau_window": 2}, losses(4.0, 3.0, 2.0, 1.0), losses(4.0, 3.0, 2.0, 2.0, 2.0, 2.0)),
        (
            {"overfit_gap": 1.0},
            history_of({"loss": 1.0}, {"eval_loss": 1.9}),
            history_of({"loss": 3.0}, {"eval_loss": 3.0}, {"loss": 1.0}, {"eval_loss": 2.1}),
        ),
        ({"token_budget": 100}, history_of({"num_tokens": 99.0}), history_of({"num_tokens": 100.0})),
        ({"rules": [{"when": "loss > 2"}]}, losses(2.0), losses(2.1)),
    ],
)
def test_a_rule_holds_only_when_it_should(control: dict[str, Any], quiet: History, acting: History) -> None:
    rule = rule_of(**control)
    assert not rule.looks(quiet)
    assert rule.looks(acting)


def test_a_rule_is_quiet_until_its_metrics_have_values() -> None:
    assert rule_of(early_stopping_patience=1).looks(losses(1.0)) is None
    assert rule_of(rules=[{"when": "eval_loss > 1 or loss > 1"}]).looks(losses(1.0)) is None


def test_a_time_budget_counts_the_time_before_an_interruption() -> None:
    rule, history = rule_of(time_budget_minutes=1), History()
    assert not rule.looks(history)
    history.earlier_seconds = 60.0
    assert rule.looks(history)


def test_a_token_budget_counts_the_tokens_before_an_interruption() -> None:
    rule, history = rule_of(token_budget=100), History()
    for entry in ({"num_tokens": 60.0}, {"num_tokens": 99.0}):  # logged before it, and after: the count goes on
        history.add(entry)
    assert not rule.looks(history)
    history.add({"num_tokens": 100.0})
    assert rule.looks(history)


@pytest.mark.parametrize(
    ("when", "trigger"),
    [("loss > 1", "on_log"), ("eval_loss > loss", "on_evaluate"), ("step > 3", "on_step_end")],
)
def test_a_rule_looks_at_the_event_that_brings_its_metrics(when: str, trigger: str) -> None:
    assert rule_of(rules=[{"when": when}]).triggers == (trigger,)


def test_early_stopping_follows_the_metric_and_the_direction_of_hugging_face() -> None:
    rule = rule_of(early_stopping_patience=1, metric_for_best_model="token_accuracy")
    assert not rule.looks(history_of({"eval_token_accuracy": 0.1}, {"eval_token_accuracy": 0.2}))
    assert rule.looks(history_of({"eval_token_accuracy": 0.2}, {"eval_token_accuracy": 0.1}))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, "1111"), ({"patience": 1}, "0001"), ({"patience": 1, "reset_patience": False}, "0010")],
)
def test_patience_is_how_often_a_condition_may_be_true(settings: dict[str, Any], expected: str) -> None:
    rule, state = rule_of(rules=[{"when": "loss > 1", **settings}]), ControlState()
    looks = (True, False, True, True) if settings else (True, True, True, True)
    assert "".join(str(int(state.acts(rule, look))) for look in looks) == expected


def test_what_was_counted_is_read_back_from_the_state_of_the_trainer() -> None:
    rule, state = rule_of(rules=[{"when": "loss > 1", "patience": 2}]), ControlState(seconds=2.5)
    state.acts(rule, True)
    stored: dict[str, Any] = {}
    state.write(stored)
    assert ControlState.of(stored) == state
    assert ControlState.of({}) == ControlState()
