"""How many rows make an update, and how they are spread over devices and forward passes."""

from __future__ import annotations

import math
from dataclasses import replace

from tuning.config.ir import IR
from tuning.recommender.action import Action, Kind, Level, Recommendation, suggest
from tuning.recommender.facts import Facts
from tuning.recommender.memory_plan import gib, most_rows, needed_and_budget, needing, planned_step
from tuning.recommender.schedule import max_steps, world_size
from tuning.recommender.values import by_user, counted, is_from_scratch, is_lora, number, power_of_two_up_to, whole

_LORA_BATCH, _FULL_BATCH, _LEAST_BATCH = 16, 64, 8
ENOUGH_STEPS = 200
MOST_PASSES = 3
_ENOUGH_ROWS = 4
_UNMEASURED_ROWS = 8
_SOURCE = "Schulman et al., LoRA Without Regret, 2025: adapters learn best below 32; ms-swift's examples: 16"
_MEMORY_SOURCE = "the closed form in tuning/recommender/memory.py"
_ALORA = "PEFT 0.21, tuners/lora/model.py: one forward pass before each backward pass"


class GradientCheckpointing(Action):
    """Off where a few rows fit without it; TRL's default has it on and pays a third more compute."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Compare the step without checkpointing with the memory of the device."""
        if ir.get("peft.peft_method") == "alora":
            comment = "PEFT's aLoRA refuses an evaluation between two steps that checkpoint."
            return suggest({"training.gradient_checkpointing": False}, comment, Kind.COMPATIBILITY, _ALORA)
        given = whole(ir, "training.per_device_train_batch_size") if _is_given(ir) else None
        wanted = given or min(_ENOUGH_ROWS, _share(ir, facts))
        step = replace(planned_step(ir, facts), rows=wanted, gradient_checkpointing=False)
        found = needed_and_budget(step, facts)
        if found is None:
            return _unmeasured(facts)
        needed, budget = map(gib, found)
        if found[0] <= found[1]:
            comment = f"{needing(step)} about {needed} of {budget} without it; it would cost a third more time."
            values = {"training.gradient_checkpointing": False}
        else:
            comment = f"{needing(step)} about {needed} without it; there are {budget}."
            values = {"training.gradient_checkpointing": True}
        values |= _checkpointing_kwargs(ir, values["training.gradient_checkpointing"])
        return suggest(
            values, comment, Kind.SYSTEM_PERFORMANCE, "one more forward pass: 4/3 of the compute (Chen et al. 2016)"
        )


class BatchSize(Action):
    """The most rows that fit a device, up to its share of the update."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Choose a power of two by the memory of the device."""
        share, step, path = _share(ir, facts), planned_step(ir, facts), "training.per_device_train_batch_size"
        rows = most_rows(step, facts, at_most=share)
        found = needed_and_budget(replace(step, rows=max(1, rows or 0)), facts)
        if rows is None or found is None:
            comment = f"What a row takes of the memory is not known; at most {_UNMEASURED_ROWS} per device, as in TRL."
            return suggest({path: min(share, _UNMEASURED_ROWS)}, comment, Kind.SYSTEM_PERFORMANCE, "TRL's default of 8")
        amount = f"about {gib(found[0])} of {gib(found[1])}"
        if rows == 0:
            comment = f"Even one row of {step.length:,} tokens needs {amount}: {_what_helps(ir, facts)}."
            return suggest({path: 1}, comment, Kind.SYSTEM_PERFORMANCE, _MEMORY_SOURCE, Level.USER_INTERVENTION)
        comment = f"{needing(replace(step, rows=rows))} {amount}."
        return suggest({path: rows}, comment, Kind.SYSTEM_PERFORMANCE, _MEMORY_SOURCE)


class GradientAccumulation(Action):
    """As many forward passes as make a full update."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Divide the update by what all devices hold at once."""
        per_device = whole(ir, "training.per_device_train_batch_size")
        if per_device is None:
            return None
        wanted, devices = wanted_batch(ir, facts), world_size(facts)
        passes = math.ceil(wanted / (per_device * devices))
        made = passes * per_device * devices
        comment = (
            f"{made} sequences per update over {counted(devices, 'device')} with {counted(per_device, 'row')} each"
            f"{'' if made == wanted else f'; {wanted} are wanted'}."
        )
        return suggest({"training.gradient_accumulation_steps": passes}, comment, Kind.MODEL_QUALITY, _SOURCE)


class EvalBatchSize(Action):
    """As many rows as in training."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Take over the training batch, because a step without a backward pass needs less memory."""
        rows = whole(ir, "training.per_device_train_batch_size")
        if rows is None:
            return None
        comment = (
            f"{counted(rows, 'row')} {'fits' if rows == 1 else 'fit'} in training, and evaluation needs less memory."
        )
        values = {"training.per_device_eval_batch_size": rows}
        return suggest(
            values, comment, Kind.SYSTEM_PERFORMANCE, "transformers issue 46809: evaluation that runs out of memory"
        )


class PinMemory(Action):
    """Off where there is no device to copy to; torch warns of it in every epoch."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Speak up on a CPU alone."""
        if facts.hardware is None or facts.hardware.accelerator != "cpu":
            return None
        comment = "Batches stay in the memory of the CPU."
        values = {"training.dataloader_pin_memory": False}
        return suggest(values, comment, Kind.SYSTEM_PERFORMANCE, "torch's documentation of DataLoader")


def _what_helps(ir: IR, facts: Facts) -> str:
    """Say what takes less memory than this run, of what can be done here."""
    adapters = [] if is_lora(ir) or is_from_scratch(ir) else ["take LoRA"]
    shards = ["more shards"] if facts.hardware is not None and facts.hardware.accelerator == "cuda" else []
    return " or ".join([*adapters, "a smaller model", "shorter rows", *shards])


def wanted_batch(ir: IR, facts: Facts) -> int:
    """Choose the sequences per update: 16 for LoRA, 64 in full, fewer where there would be too few updates.

    Source: LoRA Without Regret (2025) for LoRA's small batches, Pareja et al. (arXiv 2412.13337) for larger ones in
    full; 200 updates and 8 sequences as the lower ends are our own choice.
    """
    batch = _LORA_BATCH if is_lora(ir) else _FULL_BATCH
    sequences = _sequences(ir, facts)
    while sequences is not None and batch > _LEAST_BATCH and not _enough(batch, sequences, ir):
        batch //= 2
    rows = facts.data.num_rows if facts.data is not None else None
    return min(batch, power_of_two_up_to(rows)) if rows else batch


def _enough(batch: int, sequences: float, ir: IR) -> bool:
    steps = max_steps(ir)
    return sequences / batch >= ENOUGH_STEPS if steps is None else batch * steps <= sequences


def _sequences(ir: IR, facts: Facts) -> float | None:
    """Return the sequences that the run may see: by its epochs, or three passes where it counts steps."""
    rows = facts.data.num_rows if facts.data is not None else None
    passes = number(ir, "training.num_train_epochs") if max_steps(ir) is None else MOST_PASSES
    return None if rows is None or passes is None else rows * passes


def _share(ir: IR, facts: Facts) -> int:
    """Return the rows of an update that fall to one device and one forward pass, before memory is looked at."""
    passes = by_user(ir, "training.gradient_accumulation_steps")
    passes = passes if isinstance(passes, int) and passes > 0 else 1
    return power_of_two_up_to(wanted_batch(ir, facts) / (world_size(facts) * passes))


def _unmeasured(facts: Facts) -> Recommendation | None:
    """Turn off what TRL turns on, where the memory is a CPU's and the model's need of it is not known."""
    if facts.hardware is None or facts.hardware.accelerator != "cpu":
        return None
    comment = "What a row takes of the memory is not known; on a CPU, checkpointing would cost a third more time."
    values = {"training.gradient_checkpointing": False}
    return suggest(values, comment, Kind.SYSTEM_PERFORMANCE, "Chen et al. 2016: 4/3 of the compute")


def _checkpointing_kwargs(ir: IR, is_chosen: bool) -> dict[str, bool | None]:
    """Write how checkpointing is done where it is; where it is not, take out what an earlier pass wrote."""
    path = "training.gradient_checkpointing_kwargs"
    if ir.is_set_by_user(path):
        return {}
    if is_chosen and by_user(ir, "training.gradient_checkpointing") is not False:
        return {f"{path}.use_reentrant": False}
    return {} if ir.get(path) is None else {path: None}


def _is_given(ir: IR) -> bool:
    return ir.is_set_by_user("training.per_device_train_batch_size")
