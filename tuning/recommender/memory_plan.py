"""Read from a document and its facts what one step will hold in memory, and what the device has for it."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace

from tuning.config.ir import IR
from tuning.recommender.facts import Facts
from tuning.recommender.hardware_facts import HardwareFacts
from tuning.recommender.memory import Step, estimate_memory
from tuning.recommender.model_facts import FP8_METHODS, ModelFacts
from tuning.recommender.values import by_user, counted, is_ia3, is_lora, is_prompt_tuning, whole

_CUDA_CONTEXT_BYTES = 1 << 30
"""What CUDA and its libraries take before the first tensor. Source: 0.5 to 1 GiB seen on current drivers."""
_GPU_SHARE = 0.9
"""Share of a GPU that is planned for; the rest is for fragmentation and for what the estimate leaves out."""
RAM_SHARE = 0.6
"""Share of the RAM that is planned for; the rest is for the system, the data and its loaders."""
_ACCUMULATION = "training.gradient_accumulation_steps"
_FALLBACK_LENGTH = 1024
"""Tokens of a row where nobody says. Source: the default of TRL's max_length."""
LENGTH_STEP = 64
"""Lengths are multiples of this, tokens. Source: our own choice: few lengths, and few tokens more than needed."""
_FP8_CAPABILITY = (8, 9)
"""Source: transformers 5.23, quantizer_finegrained_fp8.py: older GPUs and CPUs get the weights in bfloat16."""

MOST_DEVICES = 4096
OFFLOADED = 1 << 20
"""Shards so many that nothing of them counts: what stands for weights that FSDP keeps in the memory of the CPU."""


def budget_bytes(hardware: HardwareFacts | None) -> int | None:
    """Return the memory that one process may plan with; None where it is not known."""
    if hardware is None or hardware.accelerator not in ("cuda", "cpu"):
        return None
    if hardware.accelerator == "cuda":
        memory = hardware.gpu.memory_bytes if hardware.gpu else None
        return int(memory * _GPU_SHARE) - _CUDA_CONTEXT_BYTES if memory else None
    return int(hardware.ram_bytes * RAM_SHARE) // hardware.local_world_size if hardware.ram_bytes else None


def planned_step(ir: IR, facts: Facts) -> Step:
    """Describe the step that the document asks for, as far as it is decided."""
    hardware = facts.hardware or HardwareFacts()
    targets = ir.get("peft.target_modules")
    return Step(
        rows=whole(ir, "training.per_device_train_batch_size") or 1,
        length=whole(ir, "training.max_length") or longest_row(facts),
        dtype_bytes=_dtype_bytes(ir.get("model.dtype"), facts.model),
        autocast=ir.get("training.bf16") is True or ir.get("training.fp16") is True,
        r=(whole(ir, "peft.r") or 16) if is_lora(ir) else 1 if is_prompt_tuning(ir) or is_ia3(ir) else None,
        target_modules=targets if isinstance(targets, list) else None,
        gradient_checkpointing=ir.get("training.gradient_checkpointing") is not False,
        head="tiles_on_cpu" if hardware.accelerator == "cpu" else "tiles",
        num_shards=_num_shards(ir, hardware),
        num_replicas=hardware.world_size,
        load_in_4bit=_quantized_bits(ir, facts) == 4,
        load_in_8bit=_quantized_bits(ir, facts) == 8,
        padding=not str(ir.get("model.attn_implementation") or "").startswith("flash"),
        optim=ir.get("training.optim") or "adamw_torch_fused",
        gradient_accumulation_steps=(by_user(ir, _ACCUMULATION) and whole(ir, _ACCUMULATION)) or 1,
    )


def decided_step(ir: IR, facts: Facts) -> Step:
    """Describe the step of a finished document.

    Unlike the planned one it also holds what the rules chose for accumulation; a rule that read that would undo itself.
    """
    return replace(planned_step(ir, facts), gradient_accumulation_steps=whole(ir, _ACCUMULATION) or 1)


def least_step(ir: IR, facts: Facts) -> Step:
    """Describe the smallest step that still does what is wanted, from what the user set and no memory has changed.

    It has one row that holds 99 percent of the sampled ones, and checkpointing, unless the user says otherwise.
    """
    step = planned_step(ir, facts)
    asked = [bits for bits in (4, 8) if by_user(ir, f"quantization.load_in_{bits}bit") is True]
    is_free = facts.model is None or not facts.model.quantization_method
    return replace(
        step,
        rows=_whole_by_user(ir, "training.per_device_train_batch_size") or 1,
        length=_whole_by_user(ir, "training.max_length") or _wanted_length(facts),
        dtype_bytes=_least_dtype_bytes(ir, facts, step),
        gradient_checkpointing=by_user(ir, "training.gradient_checkpointing") is not False,
        gradient_accumulation_steps=_whole_by_user(ir, _ACCUMULATION) or 2,
        optim=str(by_user(ir, "training.optim") or "adamw_torch_fused"),
        load_in_4bit=step.r is not None and 4 in asked if is_free else step.load_in_4bit,
        load_in_8bit=step.r is not None and 8 in asked if is_free else step.load_in_8bit,
    )


def _least_dtype_bytes(ir: IR, facts: Facts, step: Step) -> int:
    """Return the size of a weight before any is made smaller: as the user says, else as `WeightsDtype` chooses first.

    That is half precision for weights that stay frozen on a GPU that multiplies in it.
    """
    chosen, is_quantized = by_user(ir, "model.dtype"), facts.model is not None and facts.model.quantization_method
    if chosen is not None or is_quantized:
        return _dtype_bytes(chosen, facts.model)
    on_gpu = facts.hardware is not None and facts.hardware.accelerator == "cuda"
    return 2 if step.r is not None and step.autocast and on_gpu else 4


def _whole_by_user(ir: IR, path: str) -> int | None:
    return whole(ir, path) if ir.is_set_by_user(path) else None


def _wanted_length(facts: Facts) -> int:
    """Return the length that holds 99 percent of the sampled rows, as far as the model has positions."""
    tokens = facts.data.tokens if facts.data is not None else None
    limit = facts.model.max_position_embeddings if facts.model is not None else None
    length = -(-tokens.p99 // LENGTH_STEP) * LENGTH_STEP if tokens is not None else _FALLBACK_LENGTH
    return min(length, limit or length)


def _num_shards(ir: IR, hardware: HardwareFacts) -> int:
    """Count the processes that weights are divided over: as launched, or as accelerate's configuration plans it."""
    if ir.get("accelerate.distributed_type") != "FSDP":
        return hardware.num_shards
    if ir.get("accelerate.fsdp_config.fsdp_offload_params") is True:
        return OFFLOADED
    shards = whole(ir, "accelerate.parallelism_config.parallelism_config_dp_shard_size")
    return shards or hardware.world_size


def _dtype_bytes(dtype: object, model: ModelFacts | None) -> int:
    """Return the size of a weight; one of no chosen type has that of the checkpoint, as `from_pretrained` loads it.

    Checkpoints that are quantized and name no type hold in half precision what they leave whole.
    """
    if dtype in (None, "auto") and model is not None:
        dtype = model.dtype or ("bfloat16" if model.quantization_method else None)
    return 2 if dtype in ("bfloat16", "float16") else 4


def _quantized_bits(ir: IR, facts: Facts) -> int | None:
    """Return the bits in which frozen linear layers are held; None: they are whole."""
    if not is_lora(ir):
        return None
    if facts.model is not None and facts.model.quantization_method:
        return _bits_in_training(facts.model, facts.hardware)
    asked = ((bits, ir.get(f"quantization.load_in_{bits}bit")) for bits in (4, 8))
    return next((bits for bits, value in asked if value is True), None)


def _bits_in_training(model: ModelFacts, hardware: HardwareFacts | None) -> int | None:
    """Return the bits that quantized weights keep in training, where transformers does not turn them into bfloat16.

    It trains on mxfp4 only so, whatever the GPU.
    """
    if model.quantization_method == "mxfp4":
        return None
    capability = hardware.compute_capability if hardware is not None else None
    if model.quantization_method in FP8_METHODS and (capability is None or capability < _FP8_CAPABILITY):
        return None
    return model.quantization_bits


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


def devices_needed(step: Step, facts: Facts, more_than: int) -> int | None:
    """Return the least number of devices, `more_than` so many, that hold a step divided over them all, if any does.

    What a device holds falls with their number, so a search that halves the range finds it.
    """

    def is_enough(count: int) -> bool:
        return fits(replace(step, num_shards=count, num_replicas=count), facts) is True

    counts = range(more_than + 1, MOST_DEVICES + 1)
    place = bisect_left(counts, True, key=is_enough)
    return counts[place] if place < len(counts) else None


def needing(step: Step) -> str:
    """Write the rows of a step as what needs something: 1 row of 512 tokens needs."""
    return f"{counted(step.rows, 'row')} of {step.length:,} tokens {'needs' if step.rows == 1 else 'need'}"


def gib(num_bytes: int) -> str:
    """Write a number of bytes in GiB, to three digits or whole, or in MiB where it is small."""
    if num_bytes < 1 << 30:
        return f"{max(1, num_bytes >> 20)} MiB"
    size = num_bytes / (1 << 30)
    return f"{size:,.0f} GiB" if size >= 999.5 else f"{size:.3g} GiB"
