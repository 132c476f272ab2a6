"""How often a run logs, evaluates and saves."""

from __future__ import annotations

import math

from tuning.config.ir import IR
from tuning.recommender.action import Action, Kind, Recommendation, suggest
from tuning.recommender.facts import Facts
from tuning.recommender.schedule import sequences_per_update, total_steps, train_rows
from tuning.recommender.values import by_user, counted, has_validation, has_validation_rows, number

_LOG_LINES = 50
_ROUND_STEPS = (1, 2, 5, 10, 20, 50, 100)
_MOST_EVALUATIONS = 10
_STEPS_PER_EVALUATION, _STEPS_PER_CHECKPOINT = 10, 20
_EVALUATION_SHARE = 0.25
_FORWARD_SHARE = 1 / 3
_CHECKPOINTS_KEPT = 2
_SOURCE = "our own choice: ten looks at a run, a quarter of its time at most"


class Logging(Action):
    """At least 50 points on the curve, and no line for every step of a long run."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Round the steps between two lines down to 1, 2 or 5 times a power of ten."""
        steps = total_steps(ir, facts)
        if steps is None or by_user(ir, "training.logging_strategy") in ("epoch", "no"):
            return None
        every = max(step for step in _ROUND_STEPS if step <= max(1, steps / _LOG_LINES))
        comment = f"{counted(steps, 'step')} give {counted(steps // every, 'line')}."
        return suggest({"training.logging_steps": every}, comment, Kind.SYSTEM_PERFORMANCE, _SOURCE)


class Evaluation(Action):
    """Up to ten evaluations, fewer where they would take more than a quarter of the time."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Choose strategy and steps, in time with checkpoints that the user set."""
        if not has_validation(ir):
            comment = "There are no held-out rows."
            return suggest({"training.eval_strategy": "no"}, comment, Kind.COMPATIBILITY, "transformers' Trainer")
        if by_user(ir, "training.eval_strategy") not in (None, "steps"):
            return None
        if by_user(ir, "training.save_strategy") == "epoch" and by_user(ir, "training.eval_strategy") is None:
            comment = "Checkpoints are saved after each epoch, so that the best of them can be told."
            return suggest({"training.eval_strategy": "epoch"}, comment, Kind.MODEL_QUALITY, _SOURCE)
        every, comment = _evaluation_steps(ir, facts)
        steps = {} if every is None else {"training.eval_steps": every}
        return suggest({"training.eval_strategy": "steps", **steps}, comment, Kind.MODEL_QUALITY, _SOURCE)


class Saving(Action):
    """Up to ten checkpoints, each right after an evaluation, so that the best one can be loaded."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Take a multiple of the evaluation's steps."""
        strategy, evaluation = by_user(ir, "training.save_strategy"), ir.get("training.eval_strategy")
        if strategy not in (None, "steps"):
            return None
        if evaluation == "epoch" and strategy is None:
            comment = "Evaluation is after each epoch, and the best checkpoint must stand where one was."
            return suggest({"training.save_strategy": "epoch"}, comment, Kind.MODEL_QUALITY, _SOURCE)
        every, comment = _saving_steps(ir, facts, evaluation == "steps")
        if every is None:
            return None
        values = {"training.save_strategy": "steps", "training.save_steps": every}
        return suggest(values, comment, Kind.SYSTEM_PERFORMANCE, _SOURCE)


class CheckpointsKept(Action):
    """The two newest."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Bound the disk that checkpoints take."""
        if ir.get("training.save_strategy") == "no":
            return None
        comment = "The newest checkpoint to go on from, and one more in case it is cut short."
        return suggest({"training.save_total_limit": _CHECKPOINTS_KEPT}, comment, Kind.SYSTEM_PERFORMANCE, _SOURCE)


def _evaluation_steps(ir: IR, facts: Facts) -> tuple[int | float | None, str]:
    saved = by_user(ir, "training.save_steps")
    if isinstance(saved, (int, float)) and by_user(ir, "training.save_strategy") in (None, "steps"):
        return saved, f"save_steps is {saved:g}, so that each checkpoint has its evaluation."
    steps = total_steps(ir, facts)
    if steps is None:
        return (
            1 / _MOST_EVALUATIONS,
            f"{_MOST_EVALUATIONS} evaluations, as a share of steps whose number is not known yet.",
        )
    times = min(_MOST_EVALUATIONS, max(1, steps // _STEPS_PER_EVALUATION), _affordable(ir, facts, steps))
    return math.ceil(
        steps / times
    ), f"{counted(steps // math.ceil(steps / times), 'evaluation')} in {counted(steps, 'step')}."


def _affordable(ir: IR, facts: Facts, steps: int) -> int:
    """Return how many evaluations fit in a quarter of the training time; a forward pass is a third of a step."""
    batch, held_out = sequences_per_update(ir, facts), _held_out_rows(ir, facts)
    if not batch or not held_out:
        return _MOST_EVALUATIONS
    return max(1, int(_EVALUATION_SHARE * steps * batch / (held_out * _FORWARD_SHARE)))


def _held_out_rows(ir: IR, facts: Facts) -> int | None:
    if facts.data is None or has_validation_rows(ir):
        return facts.data.num_validation_rows if facts.data is not None else None
    rows, kept = facts.data.num_rows, train_rows(ir, facts)
    return None if rows is None or kept is None else rows - kept


def _saving_steps(ir: IR, facts: Facts, evaluates: bool) -> tuple[int | float | None, str]:
    steps, between = total_steps(ir, facts), number(ir, "training.eval_steps") if evaluates else 1
    if between is None:
        return None, ""
    if between < 1:
        return between, "Each checkpoint has its evaluation."
    if steps is None:
        return (int(between), "Each checkpoint has its evaluation.") if evaluates else (None, "")
    times = min(_MOST_EVALUATIONS, max(1, steps // _STEPS_PER_CHECKPOINT))
    every = max(1, int(steps / times / between)) * int(between)
    note = f", each after an evaluation (every {between:g} steps)" if evaluates else ""
    count = counted(math.ceil(steps / every), "checkpoint")  # the last step is always saved
    return every, f"{count} in {counted(steps, 'step')}{note}."
