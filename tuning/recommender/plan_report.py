"""A plan for people: what will run, the memory of a process against what there is, and every decided value."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import fields, replace
from typing import Any

from tuning.config.ir import IR
from tuning.recommender.action import Level
from tuning.recommender.completion import Completed
from tuning.recommender.facts import Facts
from tuning.recommender.hardware_facts import Gpu, HardwareFacts
from tuning.recommender.memory import MemoryParts
from tuning.recommender.memory_plan import gib, needed_and_budget
from tuning.recommender.plan import Plan, decided_values
from tuning.recommender.values import by_user, counted, is_from_scratch, is_lora, number, parameters, whole
from tuning.recommender.views import short

_BAR = 40
_HALF_BYTES = 2
_RANK = 16
"""Rank of the adapters that a verdict reckons with: the least that the rules choose."""


def plan_report(completed: Completed, plan: Plan, audited: Iterable[str] = ()) -> str:
    """Write a plan with all of its parts, the verdict last; `audited` are the lines of the audit."""
    sections = (
        ("What will run", _table(run_rows(completed.ir, completed.facts, plan))),
        ("Audit of the rows", (f"  {line}" for line in audited)),
        ("Memory of one process at its peak", memory_lines(plan)),
        ("Values, and where each came from (all others: the default)", _values(decided_values(completed.ir))),
        ("Only you can put right:", _only_you(completed)),
        ("Replaced, or the run would crash", _overridden(completed)),
        ("Your own values, where the rules would choose otherwise", _declined(completed)),
    )
    shown = ["\n".join([title, *lines]) for title, found in sections if (lines := list(found))]
    return "\n\n".join([*shown, verdict(plan, completed.facts, completed.ir)])


def run_rows(ir: IR, facts: Facts, plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield a name and a text for each thing that is known of the run."""
    yield "model", _model(ir, facts)
    yield "machine", machine_text(facts.hardware)
    yield "update", _update(plan)
    if plan.num_steps is not None:
        epochs = number(ir, "training.num_train_epochs") if whole(ir, "training.max_steps") is None else None
        yield "steps", f"{plan.num_steps:,}" + (f" in {counted_number(epochs)} epochs" if epochs is not None else "")
    yield from _rows(facts, plan)


def memory_lines(plan: Plan) -> Iterator[str]:
    """Yield a line with a bar for each part, and for the whole; a full bar is all that may be planned with."""
    if plan.memory is None:
        return
    parts = {field.name: getattr(plan.memory, field.name) for field in fields(MemoryParts)}
    whole_bar = plan.budget_bytes or plan.memory.total
    for name, size in {**parts, "total": plan.memory.total}.items():
        yield f"  {name:<12} {gib(size) if size else '0':>10}  {bar(size, whole_bar)}"
    if plan.budget_bytes is not None:
        yield f"  {'there are':<12} {gib(plan.budget_bytes):>10}"


def verdict(plan: Plan, facts: Facts, ir: IR) -> str:
    """Say whether it fits and, where it does not, what would do."""
    if plan.fits is None:
        return "It is not known whether this fits: the model, or the memory of the device, is not known."
    if plan.fits:
        return "It fits."
    with_lora = _with_lora(plan, facts, ir)
    wanted = " LoRA," if plan.step.r is None and not is_from_scratch(ir) and not with_lora else ""
    if facts.hardware is not None and facts.hardware.accelerator == "cpu":
        return (
            f"It does not fit: take{wanted} a smaller model or a machine with {_ram(plan, facts.hardware)}.{with_lora}"
        )
    if plan.num_devices_needed is not None:
        where = "with weights, gradients and optimizer state divided over them (FSDP)"
        return f"It does not fit: it needs {plan.num_devices_needed} GPUs of this kind, {where}.{with_lora}"
    told = f"take fewer or shorter rows,{wanted} or a smaller model"
    return f"It does not fit, on no number of devices of this kind: {told}.{with_lora}"


def _with_lora(plan: Plan, facts: Facts, ir: IR) -> str:
    """Say what one row would need with adapters, where that fits and the user has chosen no method."""
    if plan.step.r is not None or by_user(ir, "peft.peft_method") is not None or is_from_scratch(ir):
        return ""
    half = plan.step.autocast or plan.step.dtype_bytes == _HALF_BYTES
    step = replace(
        plan.step,
        rows=1,
        r=_RANK,
        dtype_bytes=_HALF_BYTES if half else plan.step.dtype_bytes,
        gradient_checkpointing=True,
        gradient_accumulation_steps=max(2, plan.step.gradient_accumulation_steps),
    )
    found = needed_and_budget(step, facts)
    if found is None or found[0] > found[1]:
        return ""
    return f" With peft_method=lora one row of {step.length:,} tokens needs about {gib(found[0])}, which fits."


def _ram(plan: Plan, hardware: HardwareFacts) -> str:
    """Return the memory of a machine on which the plan would fit, as this one's is shared out."""
    if plan.memory is None or not plan.budget_bytes or not hardware.ram_bytes:
        return "more memory"
    return f"{gib(math.ceil(hardware.ram_bytes * plan.memory.total / plan.budget_bytes))} of memory"


def bar(size: int, of: int) -> str:
    """Draw a share as a bar of fixed width; what is beyond it shows as an arrow."""
    filled = round(_BAR * size / of) if of else 0
    return "[" + "#" * min(filled, _BAR) + "." * (_BAR - filled) + (">" if size > of else "]")


def machine_text(hardware: HardwareFacts | None) -> str:
    """Describe a machine in a line."""
    if hardware is None or hardware.accelerator is None:
        return "not known"
    if hardware.accelerator == "other":
        place = "an accelerator that is not looked into"
    elif hardware.gpus:
        place = ", ".join(f"{count} x {_gpu(gpu)}" for gpu, count in Counter(hardware.gpus).items())
    else:
        place = "a CPU" + (f" with {gib(hardware.ram_bytes)}" if hardware.ram_bytes else "")
    machines = f", {hardware.num_nodes} machines" if hardware.num_nodes > 1 else ""
    return f"{place}{machines}, {counted(hardware.world_size, 'process', 'processes')}"


def counted_number(value: float) -> str:
    """Write a number without a fraction that is zero."""
    return f"{value:g}"


def _model(ir: IR, facts: Facts) -> str:
    name = str(ir.get("model.model_name_or_path"))
    if facts.model is None or facts.model.num_parameters is None:
        return f"{name}, of which nothing is known"
    method = f"LoRA of rank {ir.get('peft.r')}" if is_lora(ir) else "all weights"
    method = "random weights" if is_from_scratch(ir) else method
    return f"{name}: {parameters(facts.model.num_parameters)} parameters ({facts.model.model_type}), {method}"


def _update(plan: Plan) -> str:
    if plan.sequences_per_update is None:
        return "not known"
    passes = counted(plan.gradient_accumulation_steps, "pass", "passes")
    processes = counted(plan.num_processes, "process", "processes")
    rows = f"{counted(plan.step.rows, 'row')} of at most {plan.step.length:,} tokens"
    return f"{counted(plan.sequences_per_update, 'sequence')}: {rows} x {passes} x {processes}"


def _rows(facts: Facts, plan: Plan) -> Iterator[tuple[str, str]]:
    rows, data = plan.rows, facts.data
    if data is None or rows.num_train_rows is None:
        yield "rows", "not known"
        return
    held_out = (data.num_rows or 0) - rows.num_train_rows + (data.num_validation_rows or 0)
    yield "rows", f"{rows.num_train_rows:,} to train on, {held_out:,} held out, format {data.format}"
    if rows.num_tokens is not None:
        yield "tokens", f"about {rows.num_tokens:,} in the whole run, {rows.supervised_share:.0%} of them learned"
    if rows.truncated_share is not None:
        sampled = f"of {len(data.row_lengths):,} measured rows"
        yield "rows cut", f"{rows.truncated_share:.2%} {sampled}; {rows.unusable_share:.2%} have nothing to learn from"


def _gpu(gpu: Gpu) -> str:
    memory = gib(gpu.memory_bytes) if gpu.memory_bytes else "memory not known"
    version = ".".join(map(str, gpu.compute_capability)) if gpu.compute_capability else "not known"
    return f"{gpu.name} ({memory}, compute capability {version})"


def _values(values: Iterable[tuple[str, Any, str]]) -> Iterator[str]:
    section = None
    found = list(values)
    width = max((len(path.partition(".")[2] or path) for path, _, _ in found), default=0)
    for path, value, source in found:
        head, _, name = path.partition(".")
        if head != section:
            section = head
            yield f"  {section}"
        yield f"    {name or head:<{width}}  {short(value)}  ({source})"


def _only_you(completed: Completed) -> Iterator[str]:
    for made in completed.recommendations:
        if made.level is Level.USER_INTERVENTION:
            yield f"  {made.comment} ({made.action})"


def _overridden(completed: Completed) -> Iterator[str]:
    return (f"  {each}" for made in completed.recommendations for each in made.overridden)


def _declined(completed: Completed) -> Iterator[str]:
    return (f"  {each}" for made in completed.recommendations for each in made.declined)


def _table(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    return (f"  {name:<9} {text}" for name, text in rows)
