"""What is wrong with the rules of a run, told before anything is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tuning.config.schema import TuningConfig
from tuning.control.expressions import ExpressionError, parse
from tuning.control.metrics import known_metrics
from tuning.control.rules import Rule, best_metric, name_of, rules_of
from tuning.errors import Problem

_RULES = "trainer_control.rules"
_EVALUATE = "should_evaluate"


def unusable_rules(config: TuningConfig) -> Iterator[Problem]:
    """Name conditions that are none, two rules with one name, and an evaluation that would follow itself."""
    rules, known = config.trainer_control.rules or (), known_metrics(config)
    for number, rule in enumerate(rules):
        try:
            parse(rule.when, known)
        except ExpressionError as error:
            yield Problem(
                f"{_RULES}[{number}].when", f"rule {name_of(rule, number)}: {error}", rule.when, hint=error.hint
            )
        if _EVALUATE in (rule.operations or ()) and "on_evaluate" in (rule.triggers or ()):
            expected = f"rule {name_of(rule, number)}: an evaluation cannot follow from on_evaluate"
            yield Problem(f"{_RULES}[{number}].triggers", expected, rule.triggers)
    for name, count in Counter(name_of(rule, number) for number, rule in enumerate(rules)).items():
        if count > 1:
            yield Problem(_RULES, f"{count} rules have the name {name}; name each of them once")
    yield from _unknown_best_metric(config)


def _unknown_best_metric(config: TuningConfig) -> Iterator[Problem]:
    control, metric = config.trainer_control, best_metric(config)
    wanted = control.early_stopping_patience is not None or control.save_on_improvement
    if wanted and metric not in known_metrics(config):
        known = ", ".join(name for name in known_metrics(config) if name.startswith("eval_"))
        expected = "early stopping and save_on_improvement follow one of the scores of an evaluation"
        yield Problem("training.metric_for_best_model", expected, metric, hint=f"There are {known}.")


def rules_without_evaluation(config: TuningConfig) -> Iterator[Problem]:
    """Refuse rules that wait for evaluations that never come. For a completed configuration whose rules are right."""
    rules = rules_of(config)
    evaluating = [rule for rule in rules if _EVALUATE in rule.operations]
    if dict(config.training)["eval_strategy"] not in (None, "no"):
        return
    if evaluating and not _holds_rows_out(config):
        hint = "Give validation_data_path, or validation_fraction above 0."
        yield Problem("trainer_control", f"rule {evaluating[0].name} evaluates, and no rows are held out", hint=hint)
    elif not evaluating:
        yield from (_waiting(rule) for rule in rules if _needs_evaluation(rule))


def _waiting(rule: Rule) -> Problem:
    hint = "Set eval_strategy=steps or epoch, with held-out rows."
    return Problem("trainer_control", f"rule {rule.name} waits for evaluations, and eval_strategy is 'no'", hint=hint)


def _needs_evaluation(rule: Rule) -> bool:
    return rule.triggers == ("on_evaluate",) or any(
        name.startswith("eval_") for name in rule.metrics if rule.name != "stop_on_nan"
    )


def _holds_rows_out(config: TuningConfig) -> bool:
    data = config.data
    parts = [dataset.split for dataset in data.datasets or ()]
    return bool(
        data.validation_data_path or data.validation_fraction or any(each and each.validation for each in parts)
    )
