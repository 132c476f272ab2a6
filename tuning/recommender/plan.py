"""What a completed document will run: updates, steps, tokens, memory by part, and whether the device holds it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from tuning.config.ir import IR, leaves
from tuning.errors import UserError
from tuning.recommender.completion import Completed
from tuning.recommender.facts import Facts
from tuning.recommender.memory import MemoryParts, Step, memory_parts
from tuning.recommender.memory_plan import budget_bytes, decided_step, devices_needed
from tuning.recommender.model_files import load_json, model_file
from tuning.recommender.schedule import max_steps, sequences_per_update, total_steps, train_rows, world_size
from tuning.recommender.values import number, whole

MEMORY_MODELS = ("estimated", "traced")
"""How memory is found: in closed form, or by running one step whose tensors have no contents."""


@dataclass(frozen=True)
class Rows:
    """What is seen of the rows, as shares of 0 to 1 where a sample was measured.

    `num_tokens` counts the tokens of the whole run without padding. `truncated_share` are rows longer than max_length,
    `unusable_share` rows that no format fits or that have nothing left to learn from.
    """

    num_train_rows: int | None = None
    num_tokens: int | None = None
    supervised_share: float | None = None
    truncated_share: float | None = None
    unusable_share: float | None = None


@dataclass(frozen=True)
class Plan:
    """What will run. `memory` and `budget_bytes` are those of one process; None: not known.

    `num_devices_needed` is the least number of devices of this kind over which the step would fit, with weights,
    gradients and optimizer state divided; None: it fits as it is, or on no number of them.
    """

    step: Step
    rows: Rows
    num_processes: int = 1
    gradient_accumulation_steps: int = 1
    sequences_per_update: int | None = None
    num_steps: int | None = None
    memory: MemoryParts | None = None
    budget_bytes: int | None = None
    num_devices_needed: int | None = None

    @property
    def fits(self) -> bool | None:
        """Tell whether the step fits; None where that is not known."""
        if self.memory is None or self.budget_bytes is None:
            return None
        return self.memory.total <= self.budget_bytes

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON; bytes are whole numbers."""
        memory = {**asdict(self.memory), "total": self.memory.total} if self.memory is not None else None
        fields = {name: value for name, value in vars(self).items() if name not in ("step", "rows", "memory")}
        step = {"rows": self.step.rows, "length": self.step.length}
        return {**fields, "step": step, "rows": asdict(self.rows), "memory_bytes": memory, "fits": self.fits}


def make_plan(completed: Completed, memory_model: str = "estimated") -> Plan:
    """Work out what a completed document will run; only the traced memory model imports torch, and loads no weights.

    Raises:
        UserError: there is no such memory model.
    """
    ir, facts = completed.ir, completed.facts
    step, budget = decided_step(ir, facts), budget_bytes(facts.hardware)
    memory = _memory(memory_model)(ir, facts, step)
    too_much = memory is not None and budget is not None and memory.total > budget
    return Plan(
        step=step,
        rows=rows_of(ir, facts),
        num_processes=world_size(facts),
        gradient_accumulation_steps=whole(ir, "training.gradient_accumulation_steps") or 1,
        sequences_per_update=sequences_per_update(ir, facts),
        num_steps=total_steps(ir, facts),
        memory=memory,
        budget_bytes=budget,
        num_devices_needed=devices_needed(step, facts, step.num_shards) if too_much else None,
    )


def rows_of(ir: IR, facts: Facts) -> Rows:
    """Count rows and tokens: what is measured on the sample is taken to hold for all rows."""
    data, train = facts.data, train_rows(ir, facts)
    if data is None or not data.row_lengths:
        return Rows(train)
    measured = data.row_lengths
    length = whole(ir, "training.max_length") or max(row.tokens for row in measured)
    cut = [max(0, row.tokens - length) for row in measured]
    kept = sum(row.tokens for row in measured) - sum(cut)
    learned = [max(0, row.supervised_tokens - lost) for row, lost in zip(measured, cut, strict=True)]
    unreadable = data.num_unusable_sampled_rows / max(1, data.num_sampled_rows)
    emptied = learned.count(0) / len(measured)
    seen = _rows_seen(ir, facts, train)
    return Rows(
        num_train_rows=train,
        num_tokens=round(seen * (1 - unreadable) * kept / len(measured)) if seen is not None else None,
        supervised_share=sum(learned) / max(1, kept),
        truncated_share=sum(lost > 0 for lost in cut) / len(measured),
        unusable_share=unreadable + (1 - unreadable) * emptied,
    )


def decided_values(ir: IR) -> list[tuple[str, Any, str]]:
    """List path, value and source of all that the user or an action decided; the rest is Hugging Face's default."""
    return [(path, value, ir.sources.get(path, "default")) for path, value in leaves(ir.values)]


def _rows_seen(ir: IR, facts: Facts, train: int | None) -> float | None:
    """Return the rows that the whole run sees, each as often as it comes."""
    steps, update = max_steps(ir), sequences_per_update(ir, facts)
    if steps is not None:
        return None if update is None else steps * update * _rows_in_a_sequence(ir, facts)
    epochs = number(ir, "training.num_train_epochs")
    return None if train is None or epochs is None else train * epochs


def _rows_in_a_sequence(ir: IR, facts: Facts) -> float:
    tokens = facts.data.tokens if facts.data is not None else None
    length = whole(ir, "training.max_length")
    if ir.get("training.packing") is not True or tokens is None or length is None:
        return 1.0
    return max(1.0, length / tokens.mean)


def _memory(name: str) -> Callable[[IR, Facts, Step], MemoryParts | None]:
    known = {"estimated": _estimated, "traced": _traced}
    if name not in known:
        raise UserError(f"--memory: expected one of {', '.join(MEMORY_MODELS)}; got '{name}'")
    return known[name]


def _estimated(ir: IR, facts: Facts, step: Step) -> MemoryParts | None:
    return memory_parts(facts.model, step) if facts.model is not None else None


def _traced(ir: IR, facts: Facts, step: Step) -> MemoryParts | None:
    config = load_json(model_file(ir, "config.json"))
    if config is None:
        return None
    from tuning.recommender.traced_memory import traced_memory

    with contextlib.redirect_stdout(sys.stderr):  # libraries greet on standard output, where only the plan belongs
        return traced_memory(config, step)
