"""What is done with the rows: how long they may be, which are held out, how often and in which order they are seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from tuning.config.ir import IR
from tuning.recommender.action import Action, Kind, Level, Recommendation, suggest
from tuning.recommender.data_facts import DataFacts
from tuning.recommender.facts import Facts
from tuning.recommender.memory_plan import LENGTH_STEP, fits, planned_step
from tuning.recommender.schedule import max_steps
from tuning.recommender.token_lengths import RowLength
from tuning.recommender.values import (
    counted,
    has_validation_rows,
    is_from_scratch,
    is_lora,
    is_padding_free,
    refuses_evaluation,
    wants_evaluation,
    whole,
)

_MOST_SUPERVISED_LOST = 0.005
_DEFAULT_LENGTH = 1024
_SPLIT_FROM_ROWS = 500
_SPLIT_SHARE = 0.05
_SPLIT_SHARE_OF_FEW = 0.1
_MOST_SPLIT_ROWS = 1000
MOST_WASTE = 0.2


class MaxLength(Action):
    """The least length that cuts off next to nothing of what is learned."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Choose from the sampled lengths, within what the model and the memory take."""
        limit = facts.model.max_position_embeddings if facts.model is not None else None
        if facts.data is None or not facts.data.row_lengths:
            if limit is None:
                return None
            length = min(_DEFAULT_LENGTH, limit)
            comment = f"No row was measured; TRL's {_DEFAULT_LENGTH} tokens, within the model's {limit} positions."
            return suggest(
                {"training.max_length": length}, comment, Kind.MODEL_QUALITY, "the default of TRL's SFTConfig"
            )
        wanted = _length_of(facts.data.row_lengths)
        if ir.get("training.packing") is True:
            wanted = max(wanted, _DEFAULT_LENGTH)
        length = _within_memory(min(wanted, limit or wanted), ir, facts)
        return _length_recommendation(length, wanted, limit, facts.data)


class ValidationSplit(Action):
    """A few rows held out, where there are enough to spare."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Hold out 5 percent of at least 500 rows; of fewer or unknown ones only where evaluation was asked for."""
        rows = facts.data.num_rows if facts.data is not None else None
        if has_validation_rows(ir) or ir.get("data.streaming") or (rows is None and not wants_evaluation(ir)):
            return None
        share, comment = _held_out(rows, ir)
        source = "our own choice: 1,000 rows give the mean loss closely enough, and cost little"
        return suggest({"data.validation_fraction": share}, comment, Kind.MODEL_QUALITY, source)


class Epochs(Action):
    """Fewer passes over more rows."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Choose by the number of rows, unless the user counts steps."""
        rows = facts.data.num_rows if facts.data is not None else None
        if rows is None or max_steps(ir) is not None:
            return None
        if is_from_scratch(ir):
            epochs, source = (
                4.0,
                "Muennighoff et al., arXiv 2305.16264: up to 4 passes teach almost as much as new rows",
            )
            comment = f"From random weights, up to {epochs:.0f} passes over the same {counted(rows, 'row')} teach well."
        else:
            epochs = 1.0 if rows >= 50_000 else 2.0 if rows >= 10_000 else 3.0
            source = "published recipes: 1 to 3 passes, fewer for more rows (Unsloth, axolotl, torchtune)"
            comment = f"{counted(int(epochs), 'pass', 'passes')} for {counted(rows, 'row')}: more rows need fewer."
        return suggest({"training.num_train_epochs": epochs}, comment, Kind.MODEL_QUALITY, source)


class Sampling(Action):
    """Rows of like length together under LoRA, where padding would waste time; random order where it teaches more."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Work out the share of padding in the batches of the sampled rows.

        Source: own runs at 0.94 M parameters, held-out loss random against grouped: from scratch 0.77 against 3.40, all
        weights 3.385 against 3.425, LoRA 5.271 both.
        """
        batch, length = whole(ir, "training.per_device_train_batch_size"), whole(ir, "training.max_length")
        lengths = facts.data.row_lengths if facts.data is not None else ()
        if batch is None or not lengths or ir.get("training.packing") is True or is_padding_free(ir):
            return None
        waste = padding_waste([min(row.tokens, length or row.tokens) for row in lengths], batch)
        if waste > MOST_WASTE and is_lora(ir):
            strategy, comment = "group_by_length", f"Random batches of {batch} would hold {waste:.0%} padding."
        else:
            strategy, comment = "random", f"Random batches of {batch} hold {waste:.0%} padding"
            comment += "; batches of like length would teach less." if waste > MOST_WASTE else "."
        source = "own runs: grouping by length left full training with a higher held-out loss, and LoRA with the same"
        return suggest({"training.train_sampling_strategy": strategy}, comment, Kind.MODEL_QUALITY, source)


def _held_out(rows: int | None, ir: IR) -> tuple[float, str]:
    """Choose the share of the rows, and say why."""
    if refuses_evaluation(ir):
        return 0.0, "eval_strategy is no, so no row is held out."
    if rows is None:
        return _SPLIT_SHARE, "Evaluation was asked for; the number of rows is not known yet."
    if rows >= _SPLIT_FROM_ROWS:
        share = min(_SPLIT_SHARE, round(_MOST_SPLIT_ROWS / rows, 6))
        return (
            share,
            f"{math.ceil(rows * share):,} of {rows:,} rows are held out to see whether the model still learns.",
        )
    if wants_evaluation(ir) and rows > 1:
        return _SPLIT_SHARE_OF_FEW, f"Evaluation was asked for: one row in ten of {rows} is held out."
    return 0.0, f"{counted(rows, 'row')} are too few to hold some out ({_SPLIT_FROM_ROWS} are enough)."


def padding_waste(lengths: Sequence[int], batch: int) -> float:
    """Return the share of padding when rows, in random order already, are padded to the longest of each batch."""
    batches = [lengths[start : start + batch] for start in range(0, len(lengths), batch)]
    padded = sum(max(rows) * len(rows) for rows in batches)
    return 1 - sum(lengths) / padded if padded else 0.0


def _length_of(rows: Sequence[RowLength]) -> int:
    """Return a multiple of 64 that holds 99 percent of the rows and 99.5 percent of what is learned.

    Where the longest row is not twice as long, nothing is cut.
    """
    ordered = sorted(row.tokens for row in rows)
    length = _rounded(ordered[math.ceil(0.99 * len(ordered)) - 1])
    supervised = sum(row.supervised_tokens for row in rows)
    long = [row for row in rows if row.tokens > length]
    while sum(_lost(row, length) for row in long) > _MOST_SUPERVISED_LOST * supervised:
        length += LENGTH_STEP
    return _rounded(ordered[-1]) if _rounded(ordered[-1]) <= 2 * length else length


def _rounded(tokens: int) -> int:
    return math.ceil(tokens / LENGTH_STEP) * LENGTH_STEP


def _lost(row: RowLength, length: int) -> int:
    """Count the supervised tokens that a limit cuts off; they stand at the end of a row."""
    return min(row.supervised_tokens, max(0, row.tokens - length))


def _within_memory(length: int, ir: IR, facts: Facts) -> int:
    """Halve the length until one row fits, where that helps at all."""
    step = replace(planned_step(ir, facts), rows=1, gradient_checkpointing=True)
    if fits(replace(step, length=LENGTH_STEP), facts) is not True:
        return length
    while length > LENGTH_STEP and fits(replace(step, length=length), facts) is False:
        length = max(LENGTH_STEP, length // 2)
    return length


def _length_recommendation(length: int, wanted: int, limit: int | None, data: DataFacts) -> Recommendation:
    rows, tokens = data.row_lengths, data.tokens
    long = [row for row in rows if row.tokens > length]
    cut = len(long)
    emptied = sum(_lost(row, length) == row.supervised_tokens for row in long)
    lost = sum(_lost(row, length) for row in long) / max(1, sum(row.supervised_tokens for row in rows))
    p99, longest = (tokens.p99, tokens.max) if tokens is not None else (0, 0)
    parts = [f"Of {len(rows):,} sampled rows 99% have at most {p99:,} tokens, and the longest {longest:,}"]
    parts += [f"the model takes {limit:,}"] if limit is not None and wanted > limit else []
    parts += [f"one row of {wanted:,} would not fit in memory"] if length < min(wanted, limit or wanted) else []
    parts += [f"{cut:,} are cut, which loses {lost:.2%} of what is learned"] if cut else []
    parts += [f"{emptied:,} of them keep nothing to learn from: shorten or leave out these rows"] if emptied else []
    return suggest(
        {"training.max_length": length},
        "; ".join(parts) + ".",
        Kind.MODEL_QUALITY,
        "TRL issues 3927, 6025 and 6668: rows that are cut silently lose their answer",
        Level.USER_INTERVENTION if emptied else Level.SUGGESTION,
    )
