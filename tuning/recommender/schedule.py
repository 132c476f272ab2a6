"""How many rows, sequences and steps a document's run has, counted as transformers counts them."""

from __future__ import annotations

import math

from tuning.config.ir import IR
from tuning.recommender.facts import Facts
from tuning.recommender.values import has_validation_rows, number, whole


def world_size(facts: Facts) -> int:
    """Return the number of processes that share each update."""
    return facts.hardware.world_size if facts.hardware is not None else 1


def sequences_per_update(ir: IR, facts: Facts) -> int | None:
    """Return the rows that one optimizer step sees; None while the batch is undecided."""
    per_device = whole(ir, "training.per_device_train_batch_size")
    accumulation = whole(ir, "training.gradient_accumulation_steps") or 1
    return None if per_device is None else per_device * accumulation * world_size(facts)


def max_steps(ir: IR) -> int | None:
    """Return the number of steps that the document asks for; None where it goes by epochs."""
    return whole(ir, "training.max_steps")


def train_rows(ir: IR, facts: Facts) -> int | None:
    """Return the rows that are trained on, after the held-out ones are taken away."""
    rows = facts.data.num_rows if facts.data is not None else None
    if rows is None or has_validation_rows(ir):
        return rows
    return rows - math.ceil(rows * (number(ir, "data.validation_fraction") or 0))


def train_sequences(ir: IR, facts: Facts) -> int | None:
    """Return the sequences of one epoch: the rows, or what packing makes of them."""
    rows = train_rows(ir, facts)
    tokens = facts.data.tokens if facts.data is not None else None
    length = whole(ir, "training.max_length")
    if rows is None or ir.get("training.packing") is not True or tokens is None or length is None:
        return rows
    return math.ceil(rows * tokens.mean / length)


def total_steps(ir: IR, facts: Facts) -> int | None:
    """Return the optimizer steps of the run; None while something that they depend on is undecided."""
    if (steps := max_steps(ir)) is not None:
        return steps
    sequences, epochs = train_sequences(ir, facts), number(ir, "training.num_train_epochs")
    per_device = whole(ir, "training.per_device_train_batch_size")
    if not sequences or epochs is None or per_device is None:
        return None
    batches = math.ceil(sequences / (per_device * world_size(facts)))
    accumulation = whole(ir, "training.gradient_accumulation_steps") or 1
    return math.ceil(epochs * max(1, math.ceil(batches / accumulation)))
