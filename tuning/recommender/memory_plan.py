"""Read from a document and its facts what one step will hold in memory, and what the device has for it."""

from __future__ import annotations

from dataclasses import replace

from tuning.config.ir import IR
from tuning.recommender.facts import Facts
from tuning.recommender.hardware_facts import HardwareFacts
from tuning.recommender.memory import Step, estimate_memory
from tuning.recommender.values import by_user, is_lora, whole

_CUDA_CONTEXT_BYTES = 1 << 30
"""What CUDA and its libraries take before the first tensor. Source: 0.5 to 1 GiB seen on current drivers."""
_GPU_SHARE = 0.9
"""Share of a GPU that is planned for; the rest is for fragmentation and for what the estimate leaves out."""
_RAM_SHARE = 0.6
"""Share of the RAM that is planned for; the rest is for the system, the data and its loaders."""
_ACCUMULATION = "training.gradient_accumulation_steps"
_FALLBACK_LENGTH = 1024
"""Tokens of a row where nobody says. Source: the default of TRL's max_length."""

OFFLOADED = 1 << 20
"""Shards so many that nothing of them counts: what stands for weights that FSDP keeps in the memory of the CPU."""


def budget_bytes(hardware: HardwareFacts | None) -> int | None:
    """Return the memory that one process may plan with; None where it is not known."""
    if hardware is None or hardware.accelerator not in ("cuda", "cpu"):
        return None
    if hardware.accelerator == "cuda":
        memory = hardware.gpu.memory_bytes if hardware.gpu else None
        return int(memory * _GPU_SHARE) - _CUDA_CONTEXT_BYTES if memory else None
    return int(hardware.ram_bytes * _RAM_SHARE) // hardware.local_world_size if hardware.ram_bytes else None


def planned_step(ir: IR, facts: Facts) -> Step:
    """Describe the step that the document asks for, as far as it is decided."""
    hardware = facts.hardware or HardwareFacts()
    targets = ir.get("peft.target_modules")
    return Step(
        rows=whole(ir, "training.per_device_train_batch_size") or 1,
        length=whole(ir, "training.max_length") or longest_row(facts),
        dtype_bytes=2 if ir.get("model.dtype") in ("bfloat16", "float16") else 4,
        autocast=ir.get("training.bf16") is True or ir.get("training.fp16") is True,
        r=(whole(ir, "peft.r") or 16) if is_lora(ir) else None,
        target_modules=targets if isinstance(targets, list) else None,
        gradient_checkpointing=ir.get("training.gradient_checkpointing") is not False,
        head="tiles_on_cpu" if hardware.accelerator == "cpu" else "tiles",
        num_shards=_num_shards(ir, hardware),
        num_replicas=hardware.world_size,
        load_in_4bit=is_lora(ir) and _is_in_4bit(ir, facts),
        padding=not str(ir.get("model.attn_implementation") or "").startswith("flash"),
        optim=ir.get("training.optim") or "adamw_torch_fused",
        gradient_accumulation_steps=(by_user(ir, _ACCUMULATION) and whole(ir, _ACCUMULATION)) or 1,
    )


def decided_step(ir: IR, facts: Facts) -> Step:
    """Describe the step of a finished document.

    Unlike the planned one it also holds what the rules chose for accumulation; a rule that read that would undo itself.
    """
    return replace(planned_step(ir, facts), gradient_accumulation_steps=whole(ir, _ACCUMULATION) or 1)


def _num_shards(ir: IR, hardware: HardwareFacts) -> int:
    """Count the processes that weights are divided over: as launched, or as accelerate's configuration plans it."""
    if ir.get("accelerate.distributed_type") != "FSDP":
        return hardware.num_shards
    if ir.get("accelerate.fsdp_config.fsdp_offload_params") is True:
        return OFFLOADED
    shards = whole(ir, "accelerate.parallelism_config.parallelism_config_dp_shard_size")
    return shards or hardware.world_size


def _is_in_4bit(ir: IR, facts: Facts) -> bool:
    already = facts.model is not None and facts.model.quantization_bits == 4
    return already or ir.get("quantization.load_in_4bit") is True


def longest_row(facts: Facts) -> int:
    """Return the length of the longest sampled row, tokens, or TRL's default limit where none was measured."""
    tokens = facts.data.tokens if facts.data is not None else None
    return tokens.max if tokens is not None else _FALLBACK_LENGTH


def needed_and_budget(step: Step, facts: Facts) -> tuple[int, int] | None:
    """Return the bytes that a step needs and those that there are; None where one is not known."""
    needed = estimate_memory(facts.model, step) if facts.model is not None else None
    budget = budget_bytes(facts.hardware)
    return None if needed is None or budget is None else (needed, budget)


def fits(step: Step, facts: Facts) -> bool | None:
    """Tell whether a step fits the device; None where that is not known."""
    found = needed_and_budget(step, facts)
    return None if found is None else found[0] <= found[1]


def most_rows(step: Step, facts: Facts, at_most: int) -> int | None:
    """Return the largest power of two of rows, up to `at_most`, that fits; 0: not even one; None: not known.

    Fewer than `at_most` rows are taken to be accumulated, which holds the gradients through the next forward pass.
    """
    rows, best = 1, 0
    while rows <= at_most:
        passes = step.gradient_accumulation_steps if rows == at_most else max(2, step.gradient_accumulation_steps)
        answer = fits(replace(step, rows=rows, gradient_accumulation_steps=passes), facts)
        if answer is None:
            return None
        if not answer:
            break
        rows, best = rows * 2, rows
    return best


def gib(num_bytes: int) -> str:
    """Write a number of bytes in GiB, or in MiB where it is small."""
    return f"{num_bytes / (1 << 30):.3g} GiB" if num_bytes >= 1 << 30 else f"{max(1, num_bytes >> 20)} MiB"
