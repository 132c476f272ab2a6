"""What finished runs near to this one have shown; without `recommender.history` these rules skip."""

from __future__ import annotations

from tuning.config.ir import IR
from tuning.recommender.action import Action, Kind, Recommendation, suggest
from tuning.recommender.facts import Facts
from tuning.recommender.history import best_learning_rate, best_rank
from tuning.recommender.values import is_lora

_SOURCE = "the finished runs in recommender.history"


class RankFromRuns(Action):
    """The least rank that did as well as any, where near runs tried several."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Compare the held-out losses of runs that differ in little else."""
        evidence = best_rank(ir, facts) if is_lora(ir) else None
        if evidence is None:
            return None
        return suggest({"peft.r": int(evidence.value)}, evidence.comment, Kind.MODEL_QUALITY, _SOURCE)


class LearningRateFromRuns(Action):
    """The rate that did best, where near runs tried several."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Compare the held-out losses of runs that differ in little else."""
        evidence = best_learning_rate(ir, facts)
        if evidence is None:
            return None
        return suggest({"training.learning_rate": evidence.value}, evidence.comment, Kind.MODEL_QUALITY, _SOURCE)
