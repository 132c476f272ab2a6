"""What runs near to this one have shown: which of several values led to the least held-out loss."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tuning.config.ir import IR
from tuning.recommender.facts import Facts
from tuning.recommender.finished_runs import FinishedRun, method_of
from tuning.recommender.schedule import sequences_per_update
from tuning.recommender.values import counted, number, parameters

_MOST_SIZE_FACTOR, _MOST_ROWS_FACTOR, _MOST_BATCH_FACTOR = 2.0, 4.0, 2.0
"""How far a run may be from this one and still count.

Source: our own choice; over the first and the last of them the rules of LearningRate move by a factor of 1.5 at most.
"""
_WORTH_A_HIGHER_RANK = 1.01
"""Held-out loss, over the best, up to which the smaller rank is taken. Source: our own choice."""
_MOST_NAMED = 6


class Evidence(NamedTuple):
    """The value that did best among runs of one setup, and the words for it."""

    value: float
    comment: str


def best_learning_rate(ir: IR, facts: Facts) -> Evidence | None:
    """Return the rate of the run with the least held-out loss; None where no near setup tried two."""
    for runs in _near_setups(ir, facts, sequences_per_update(ir, facts)):
        best = min(runs, key=lambda run: (run.eval_loss, run.learning_rate))
        if len({run.learning_rate for run in runs}) > 1:
            told = _told(runs, [(f"{run.learning_rate:g}", run) for run in runs])
            return Evidence(best.learning_rate, f"{told}; {best.learning_rate:g} did best.")
    return None


def best_rank(ir: IR, facts: Facts) -> Evidence | None:
    """Return the least rank whose loss is next to the best; None where no near setup tried two.

    The batch is not compared: it may follow from the memory that the rank leaves.
    """
    for setup in _near_setups(ir, facts, None):
        runs = [run for run in setup if run.r is not None]
        if len({run.r for run in runs}) > 1:
            enough = _WORTH_A_HIGHER_RANK * min(run.eval_loss for run in runs)
            rank = min(run.r or 0 for run in runs if run.eval_loss <= enough)
            told = _told(runs, [(f"r {run.r}", run) for run in runs])
            return Evidence(rank, f"{told}; {rank} is the least within 1 % of the best.")
    return None


def _near_setups(ir: IR, facts: Facts, batch: int | None) -> Iterator[list[FinishedRun]]:
    """Yield the runs of each setup near to the document's, the nearest setup first."""
    setups: dict[str, list[FinishedRun]] = {}
    for run in facts.history:
        setups.setdefault(run.setup, []).append(run)
    distances = [(_distance(runs[0], ir, facts, batch), setup) for setup, runs in setups.items()]
    for _, setup in sorted((distance, setup) for distance, setup in distances if distance is not None):
        yield setups[setup]


def _distance(run: FinishedRun, ir: IR, facts: Facts, batch: int | None) -> float | None:
    """Return how far a run is from the document, in doublings of size, rows and batch; None: too far, or unknown."""
    if facts.model is None or facts.data is None or facts.model.model_type != run.model_type:
        return None
    method = method_of(ir)
    if (facts.data.format, method) != (run.data_format, run.method):
        return None
    if method == "lora" and (number(ir, "peft.lora_alpha") != run.lora_alpha or ir.get("peft.use_rslora") is True):
        return None  # the scale of the adapters, which use_rslora ties to the rank, moves the best learning rate
    pairs = (
        (facts.model.num_parameters, run.num_parameters, _MOST_SIZE_FACTOR),
        (facts.data.num_rows, run.num_rows, _MOST_ROWS_FACTOR),
        (batch or run.sequences_per_update, run.sequences_per_update, _MOST_BATCH_FACTOR),
    )
    doublings = [(abs(math.log2(mine / theirs)), factor) if mine else None for mine, theirs, factor in pairs]
    if any(pair is None or pair[0] > math.log2(pair[1]) for pair in doublings):
        return None
    return sum(pair[0] for pair in doublings if pair is not None)


def _told(runs: Sequence[FinishedRun], tried: Sequence[tuple[str, FinishedRun]]) -> str:
    """Name the runs, the best first, each with what it tried and the loss that it reached."""
    ordered = sorted(tried, key=lambda pair: (pair[1].eval_loss, pair[1].name, pair[1].run_id))
    named = [f"{value}: {run.eval_loss:.4g} ({run.name}, {run.run_id[:8]})" for value, run in ordered[:_MOST_NAMED]]
    more = [f"{len(ordered) - _MOST_NAMED} more"] if len(ordered) > _MOST_NAMED else []
    first = runs[0]
    what = f"{first.model_type}, {parameters(first.num_parameters)} parameters, {counted(first.num_rows, 'row')}"
    return f"Held-out loss of {counted(len(runs), 'finished run')} ({what}): {', '.join([*named, *more])}"
