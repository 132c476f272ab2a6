"""Whether several rows share one sequence."""

from __future__ import annotations

import math
from dataclasses import replace

from tuning.config.ir import IR
from tuning.recommender.action import Action, Kind, Recommendation, suggest
from tuning.recommender.actions.batch import ENOUGH_STEPS, MOST_PASSES, wanted_batch
from tuning.recommender.actions.rows import MOST_WASTE, padding_waste
from tuning.recommender.data_facts import DataFacts
from tuning.recommender.facts import Facts
from tuning.recommender.memory_plan import LENGTH_STEP, most_rows, planned_step
from tuning.recommender.schedule import max_steps, world_size
from tuning.recommender.values import by_user, counted, needs_rows_alone, number, power_of_two_up_to, whole

_SHORTEST_PACKED = 1024
"""Tokens of a packed sequence at least. Source: the default of TRL's max_length."""
SEES_OTHER_ROWS = frozenset({"bloom", "falcon", "mpt", "opt"})
"""Models that take no notice of where packed rows end. Source: transformers 5.23; the trainer shows each model two rows
in one sequence, and `tests/data/test_packing.py` these."""
_SOURCE = (
    "TRL's documentation of packing: bfd cuts no row in two, wrapped does; TRL issues 2834 and 3067: packed rows see "
    "each other without a variable-length kernel"
)


class Packing(Action):
    """Several rows per sequence, where padding would waste a fifth and a kernel keeps the rows apart."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Compare the padding of the batch that would be with the updates that packing would leave."""
        if by_user(ir, "training.packing") is True:
            comment = "bfd packs whole rows; wrapped cuts them in the middle, and prompts lose their answers."
            return suggest({"training.packing_strategy": "bfd"}, comment, Kind.MODEL_QUALITY, _SOURCE)
        if facts.data is None or not facts.data.row_lengths or not _keeps_rows_apart(ir, facts):
            return None
        length, batch = _packed_length(ir, facts, facts.data), _batch(ir, facts)
        waste = padding_waste([min(row.tokens, length) for row in facts.data.row_lengths], batch)
        steps = _updates(ir, facts, facts.data, length)
        if waste <= MOST_WASTE or steps is None or steps < ENOUGH_STEPS:
            return None
        values = {
            "training.packing": True,
            "training.packing_strategy": "bfd",
            "training.padding_free": True,
            "training.eval_packing": False,
        }
        kernel = ir.get("model.attn_implementation")
        comment = (
            f"Random batches of {counted(batch, 'row')} would hold {waste:.0%} padding; {kernel} keeps packed rows "
            f"apart, and {steps:,} updates are left. Evaluation packs none, so that its loss can be compared."
        )
        return suggest(values, comment, Kind.SYSTEM_PERFORMANCE, _SOURCE)


def _keeps_rows_apart(ir: IR, facts: Facts) -> bool:
    """Tell whether no token sees another row: by a variable-length kernel, in a model that carries no state on."""
    if by_user(ir, "training.padding_free") is False or facts.model is None or needs_rows_alone(ir):
        return False
    if facts.model.model_type in SEES_OTHER_ROWS:
        return False
    return "flash" in str(ir.get("model.attn_implementation")) and facts.model.architecture.is_stateful is False


def _packed_length(ir: IR, facts: Facts, data: DataFacts) -> int:
    """Return the length of a packed sequence: the user's, else what holds 99 percent of the rows, at least 1,024."""
    wanted = data.tokens.p99 if data.tokens is not None else _SHORTEST_PACKED
    wanted = max(_SHORTEST_PACKED, math.ceil(wanted / LENGTH_STEP) * LENGTH_STEP)
    limit = facts.model.max_position_embeddings if facts.model is not None else None
    given = whole(ir, "training.max_length") if ir.is_set_by_user("training.max_length") else None
    return given or min(wanted, limit or wanted)


def _batch(ir: IR, facts: Facts) -> int:
    """Return the rows that a device would have without packing, whatever was decided since."""
    if ir.is_set_by_user("training.per_device_train_batch_size"):
        return whole(ir, "training.per_device_train_batch_size") or 1
    share = power_of_two_up_to(wanted_batch(ir, facts) / world_size(facts))
    tokens = facts.data.tokens if facts.data is not None else None
    step = planned_step(ir, facts)
    length = tokens.p99 if tokens is not None else step.length
    fitting = most_rows(replace(step, length=length, gradient_checkpointing=True), facts, at_most=share)
    return share if fitting is None else max(1, fitting)


def _updates(ir: IR, facts: Facts, data: DataFacts, length: int) -> int | None:
    """Count the updates over packed sequences; 0 where the user's steps would see the rows too often."""
    if data.num_rows is None:
        return None
    packed = data.num_rows * sum(min(row.tokens, length) for row in data.row_lengths) / len(data.row_lengths) / length
    batch, steps = wanted_batch(ir, facts), max_steps(ir)
    if steps is not None:
        return steps if steps * batch <= MOST_PASSES * packed else 0
    epochs = number(ir, "training.num_train_epochs")
    return None if epochs is None else math.floor(packed * epochs / batch)
