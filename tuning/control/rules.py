"""The rules of a run: what each watches for, when it looks, and which switches of the Trainer it sets."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tuning.config.control_fields import ControlRule
from tuning.config.schema import TuningConfig
from tuning.control.expression_values import NotSeenError
from tuning.control.expressions import Expression, parse
from tuning.control.metrics import PROGRESS, History, known_metrics

Holds = Callable[[History], bool]

STOP = "should_training_stop"
SAVE = "should_save"
_MINUTE = 60.0


@dataclass(frozen=True)
class Rule:
    """One rule; `text` says all of what it watches for, so that two rules with one text are the same rule."""

    name: str
    text: str
    triggers: tuple[str, ...]
    holds: Holds
    metrics: tuple[str, ...] = ()
    operations: tuple[str, ...] = (STOP,)
    patience: int = 0
    reset_patience: bool = True
    by_clock: bool = False
    """Clocks of processes differ, so the first one decides for all."""

    def looks(self, history: History) -> bool | None:
        """Tell whether the rule's condition is true; None: a metric that it reads has no value yet."""
        try:
            return self.holds(history)
        except NotSeenError:
            return None


def rules_of(config: TuningConfig) -> tuple[Rule, ...]:
    """List the rules of a checked configuration, those with fields of their own first."""
    known = known_metrics(config)
    own = (
        own_rule(rule, number, parse(rule.when, known))
        for number, rule in enumerate(config.trainer_control.rules or ())
    )
    return (*_named(config), *own)


def own_rule(rule: ControlRule, number: int, condition: Expression) -> Rule:
    """Make the rule of a condition that is the user's own; `number` counts from 0."""
    operations = (STOP,) if rule.operations is None else tuple(rule.operations)
    patience = f", patience {rule.patience}" if rule.patience else ""
    return Rule(
        name=name_of(rule, number),
        text=f"{condition.text}{patience}",
        triggers=tuple(rule.triggers or (_trigger(condition.names),)),
        holds=lambda history: condition.holds(history.values),
        metrics=tuple(sorted(condition.names - {*PROGRESS})),
        operations=operations,
        patience=rule.patience,
        reset_patience=rule.reset_patience,
    )


def name_of(rule: ControlRule, number: int) -> str:
    """Name a rule, the first being rule_1."""
    return rule.name or f"rule_{number + 1}"


def _trigger(names: frozenset[str]) -> str:
    """Return the event that brings a condition's metrics: the rarest of those that it reads."""
    if any(name.startswith("eval_") for name in names):
        return "on_evaluate"
    return "on_log" if names - {*PROGRESS} else "on_step_end"


def _named(config: TuningConfig) -> Iterator[Rule]:
    """Make the rules that have fields of their own."""
    control = config.trainer_control
    if control.stop_on_nan:
        yield Rule(
            "stop_on_nan", "a loss is not finite", ("on_log", "on_evaluate"), _is_not_finite, ("loss", "eval_loss")
        )
    if control.loss_spike_factor is not None:
        yield _loss_spike(control.loss_spike_factor, control.loss_spike_window)
    if control.plateau_window is not None:
        yield _plateau(control.plateau_window, control.plateau_threshold)
    if control.overfit_gap is not None:
        yield _overfit(control.overfit_gap)
    if control.token_budget is not None:
        yield _token_budget(control.token_budget)
    if control.time_budget_minutes is not None:
        yield _time_budget(control.time_budget_minutes)
    yield from _best(config)


def _best(config: TuningConfig) -> Iterator[Rule]:
    """Make the rules that follow the best value of one metric."""
    control, metric, greater = config.trainer_control, best_metric(config), _greater_is_better(config)
    if control.save_on_improvement:
        yield Rule(
            name="save_on_improvement",
            text=f"{metric} is the best so far",
            triggers=("on_evaluate",),
            holds=lambda history: waits(_all(history, metric), 0.0, greater) == 0,
            metrics=(metric,),
            operations=(SAVE,),
        )
    patience, threshold = control.early_stopping_patience, control.early_stopping_threshold
    if patience is not None:
        yield Rule(
            name="early_stopping",
            text=f"{metric} has not improved by more than {threshold:g} in {patience} evaluations",
            triggers=("on_evaluate",),
            holds=lambda history: waits(_all(history, metric), threshold, greater) >= patience,
            metrics=(metric,),
        )


def best_metric(config: TuningConfig) -> str:
    """Return the name of the metric that tells which evaluation is the best."""
    name = _training(config)["metric_for_best_model"] or "eval_loss"
    return name if name.startswith("eval_") else f"eval_{name}"


def _greater_is_better(config: TuningConfig) -> bool:
    given = _training(config)["greater_is_better"]
    return given if given is not None else not best_metric(config).endswith(("loss", "perplexity"))


def waits(values: Sequence[float], threshold: float, greater_is_better: bool) -> int:
    """Count the values since the last one that was better than all before it by more than the threshold.

    What is not a number is no improvement.
    """
    best, count = -math.inf, 0
    for value in (value if greater_is_better else -value for value in values):
        is_better = value - best > threshold if math.isfinite(best) else value > best
        best, count = (value, 0) if is_better else (best, count + 1)
    return count


def _is_not_finite(history: History) -> bool:
    found = (history.latest(name) for name in ("loss", "eval_loss"))
    return any(value is not None and not math.isfinite(value) for value in found)


def _loss_spike(factor: float, window: int) -> Rule:
    def holds(history: History) -> bool:
        *before, last = _all(history, "loss")[-window - 1 :]
        return len(before) == window and last > factor * _mean(before)

    text = f"loss is above {factor:g} times the mean of the {window} log entries before"
    return Rule("loss_spike", text, ("on_log",), holds, ("loss",))


def _plateau(window: int, threshold: float) -> Rule:
    def holds(history: History) -> bool:
        losses = _all(history, "loss")[-2 * window :]
        return len(losses) == 2 * window and _mean(losses[window:]) > (1 - threshold) * _mean(losses[:window])

    text = (
        f"the mean loss of {window} log entries is not lower by a share of {threshold:g} than that of {window} before"
    )
    return Rule("plateau", text, ("on_log",), holds, ("loss",))


def _overfit(gap: float) -> Rule:
    def holds(history: History) -> bool:
        evaluated, losses = _all(history, "eval_loss")[-1], history.losses_before_evaluation
        return bool(losses) and evaluated - _mean(losses) > gap

    text = f"eval_loss is above the mean loss since the evaluation before by more than {gap:g}"
    return Rule("overfit_gap", text, ("on_evaluate",), holds, ("eval_loss", "loss"))


def _token_budget(tokens: int) -> Rule:
    def holds(history: History) -> bool:
        return _all(history, "num_tokens")[-1] >= tokens

    return Rule("token_budget", f"{tokens} tokens have been trained on", ("on_log",), holds, ("num_tokens",))


def _time_budget(minutes: float) -> Rule:
    def holds(history: History) -> bool:
        return history.seconds >= minutes * _MINUTE

    text = f"{minutes:g} minutes of training have passed"
    return Rule("time_budget", text, ("on_step_end",), holds, by_clock=True)


def _all(history: History, name: str) -> Sequence[float]:
    values = history.values.get(name)
    if not values:
        raise NotSeenError
    return values


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _training(config: TuningConfig) -> dict[str, Any]:
    return dict(config.training)
