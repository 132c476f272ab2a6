"""How a run that is not launched yet is spread over its devices: accelerate's configuration."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from tuning.config.ir import IR
from tuning.recommender.action import Action, Kind, Level, Recommendation, suggest
from tuning.recommender.facts import Facts
from tuning.recommender.hardware_facts import HardwareFacts
from tuning.recommender.memory import Step
from tuning.recommender.memory_plan import (
    MOST_DEVICES,
    OFFLOADED,
    RAM_SHARE,
    devices_needed,
    gib,
    least_step,
    needed_and_budget,
)
from tuning.recommender.model_facts import ModelFacts
from tuning.recommender.values import by_user, counted, is_lora

_GATHERED_BLOCKS = 2
"""Blocks that FSDP2 holds whole at once: the one that computes, and the next, which is on its way."""
_TRAINED_COPIES = 4
"""What there is of a trained weight: itself, its gradient and AdamW's two moments."""
_ELSEWHERE = ("fsdp", "fsdp_config", "deepspeed", "parallelism_config")
"""Fields of the training section by which a user spreads the run without accelerate's file."""
_SOURCE = (
    "accelerate 1.15, ClusterConfig and FullyShardedDataParallelPlugin; the closed form in tuning/recommender/memory.py"
)


@dataclass(frozen=True)
class _Choice:
    """What fits; `num_shards` are the devices that weights, gradients and optimizer state are divided over."""

    distributed_type: Literal["MULTI_GPU", "FSDP"]
    comment: str
    num_shards: int = 1
    offload: bool = False
    level: Level = Level.SUGGESTION


class Distribution(Action):
    """DDP where a step fits one device, else FSDP2, hybrid over machines, then with the CPU's memory, or more GPUs."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Choose by the memory of a device, before anything else is made to fit it."""
        hardware = facts.hardware
        if hardware is None or hardware.is_launched or any(by_user(ir, f"training.{name}") for name in _ELSEWHERE):
            return None
        if hardware.world_size == 1:
            return _one_process(ir, hardware)
        chosen = _on_cpus(hardware) if hardware.accelerator == "cpu" else _on_gpus(ir, facts, hardware)
        return _recommendation(chosen, ir, facts, hardware) if chosen is not None else None


def _one_process(ir: IR, hardware: HardwareFacts) -> Recommendation | None:
    """Tell of GPUs that one process cannot use together."""
    if hardware.accelerator != "cuda" or len(hardware.gpus) <= 1 or by_user(ir, "compute.num_processes") == 1:
        return None
    count = len(hardware.gpus)
    comment = (
        f"{count} GPUs are here, and one process: TRL refuses to share them out. Plan for all with num_gpus_per_node="
        f"{count} and launch with accelerate launch, or show the process one GPU with CUDA_VISIBLE_DEVICES."
    )
    source = "TRL 1.16, SFTTrainer: no DataParallel"
    return suggest({}, comment, Kind.SYSTEM_PERFORMANCE, source, Level.USER_INTERVENTION)


def _on_cpus(hardware: HardwareFacts) -> _Choice:
    comment = (
        f"{hardware.world_size} processes on CPUs share each update (DDP). accelerate starts several of them only "
        "under the name MULTI_GPU, and makes DDP of FSDP there."
    )
    return _Choice("MULTI_GPU", comment)


def _on_gpus(ir: IR, facts: Facts, hardware: HardwareFacts) -> _Choice | None:
    """Try the ways in the order of what they cost in time; None where model or memory is not known."""
    step, world = least_step(ir, facts), hardware.world_size
    alone = needed_and_budget(replace(step, num_shards=1), facts)
    if hardware.accelerator != "cuda" or alone is None:
        return None
    rows = f"{counted(step.rows, 'row')} of {step.length:,} tokens"
    told = f"For {rows} one GPU needs about {gib(alone[0])} of {gib(alone[1])}"
    if alone[0] <= alone[1]:
        return _Choice("MULTI_GPU", f"{told}, so each of {world} holds the whole model (DDP).")
    per_node = world // hardware.num_nodes if world % hardware.num_nodes == 0 else world
    for shards in dict.fromkeys((per_node, world)):
        found = needed_and_budget(replace(step, num_shards=shards), facts)
        if shards > 1 and found is not None and found[0] <= found[1]:
            where = f" of each machine, copied over {hardware.num_nodes}" if shards < world else ""
            return _Choice("FSDP", f"{told}; divided over the {shards} GPUs{where}, {gib(found[0])} (FSDP2).", shards)
    return _with_less_on_the_gpu(step, told, ir, facts, hardware)


def _with_less_on_the_gpu(step: Step, told: str, ir: IR, facts: Facts, hardware: HardwareFacts) -> _Choice:
    """Keep frozen weights in 4 bits, or what is trained in the CPU's memory; where neither fits, count the GPUs."""
    world = hardware.world_size
    quantized = needed_and_budget(replace(step, num_shards=1, load_in_4bit=True), facts)
    if _may_take_4_bits(step, ir, facts) and quantized is not None and quantized[0] <= quantized[1]:
        comment = f"{told}; with weights in 4 bits {gib(quantized[0])}, on each of {world} GPUs (DDP)."
        return _Choice("MULTI_GPU", comment)
    told += f", and {world} are too few to divide it over"
    if step.r is None and _fits_offloaded(step, facts, hardware):
        comment = f"{told}; with weights and optimizer in the CPU's memory it fits, and is slow (FSDP2)."
        return _Choice("FSDP", comment, world, offload=True)
    count = devices_needed(step, facts, world)
    needs = f"it needs {count:,} such GPUs" if count else f"not even {MOST_DEVICES:,} hold it: shorten the rows"
    return _Choice("FSDP", f"{told}: {needs}.", world, level=Level.USER_INTERVENTION)


def _may_take_4_bits(step: Step, ir: IR, facts: Facts) -> bool:
    """Tell whether frozen weights are still whole, and the user does not want them so."""
    already = facts.model is not None and facts.model.quantization_method is not None
    refused = by_user(ir, "quantization.load_in_4bit") is False
    return step.r is not None and not (step.is_quantized or already or refused)


def _fits_offloaded(step: Step, facts: Facts, hardware: HardwareFacts) -> bool:
    """Tell whether the GPU holds what is computed on, and the machine's memory its share of all that is trained."""
    found, model = needed_and_budget(replace(step, num_shards=OFFLOADED), facts), facts.model
    if found is None or model is None or model.shape is None or not model.num_parameters or not hardware.ram_bytes:
        return False
    block = model.num_parameters // model.shape.num_hidden_layers
    gathered = _GATHERED_BLOCKS * block * (2 if step.autocast else step.dtype_bytes)
    trained = _TRAINED_COPIES * step.dtype_bytes * model.num_parameters // hardware.num_nodes
    return found[0] + gathered <= found[1] and trained <= hardware.ram_bytes * RAM_SHARE


def _recommendation(chosen: _Choice, ir: IR, facts: Facts, hardware: HardwareFacts) -> Recommendation:
    """Write the choice by the keys of accelerate's file; where the user chose another way, fill in that one."""
    given = by_user(ir, "accelerate.distributed_type")
    values: dict[str, Any] = {"distributed_type": chosen.distributed_type}
    comment, level = chosen.comment, chosen.level
    if given in (None, "MULTI_GPU", "FSDP"):
        values |= _processes(ir, hardware)
    if (given or chosen.distributed_type) == "FSDP" and facts.model is not None:
        sharding, remark = _sharding(chosen, ir, facts.model, hardware)
        values |= sharding
        comment, level = (f"{comment} {remark}", Level.USER_INTERVENTION) if remark else (comment, level)
    written = {f"accelerate.{name}": value for name, value in values.items()}
    if hardware.accelerator == "cpu" and ir.get("training.fp16") is not True:  # which no CPU trains in
        written["training.use_cpu"] = True
    return suggest(written, comment, Kind.SYSTEM_PERFORMANCE, _SOURCE, level)


def _processes(ir: IR, hardware: HardwareFacts) -> dict[str, Any]:
    half = "bf16" if ir.get("training.bf16") is True else "fp16" if ir.get("training.fp16") is True else "no"
    values = {
        "compute_environment": "LOCAL_MACHINE",
        "num_machines": hardware.num_nodes,
        "num_processes": hardware.world_size,
        "mixed_precision": half,
    }
    return values | ({"machine_rank": 0} if hardware.num_nodes > 1 else {})


def _sharding(chosen: _Choice, ir: IR, model: ModelFacts, hardware: HardwareFacts) -> tuple[dict[str, Any], str]:
    """Write FSDP2's part, and what the user must know of it.

    Checkpointing is left to `training.gradient_checkpointing`: transformers refuses it in both places. Whole
    checkpoints are the files of an undivided run; those in parts need no more memory than each process has of it.
    """
    if by_user(ir, "accelerate.fsdp_config.fsdp_version") not in (None, 2):
        return {"fsdp_config.fsdp_version": 2}, ""
    gathered = _holds_whole_state(chosen, ir, model, hardware)
    values: dict[str, Any] = {
        "fsdp_config.fsdp_version": 2,
        "fsdp_config.fsdp_reshard_after_forward": True,
        "fsdp_config.fsdp_auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "fsdp_config.fsdp_state_dict_type": "FULL_STATE_DICT" if gathered else "SHARDED_STATE_DICT",
        "fsdp_config.fsdp_cpu_ram_efficient_loading": True,
        "fsdp_config.fsdp_offload_params": chosen.offload,
        "fsdp_config.fsdp_activation_checkpointing": False,
    }
    if blocks := model.architecture.no_split_modules:
        values["fsdp_config.fsdp_transformer_layer_cls_to_wrap"] = ",".join(blocks)
    if 1 < chosen.num_shards < hardware.world_size:
        values["parallelism_config.parallelism_config_dp_replicate_size"] = hardware.world_size // chosen.num_shards
        values["parallelism_config.parallelism_config_dp_shard_size"] = chosen.num_shards
    remark = (
        "The machine's memory does not hold the whole state, so checkpoints are in parts; for the model at the end it "
        "has to hold the weights: else stop before it, and join a checkpoint elsewhere with tune export."
    )
    return values, "" if gathered else remark


def _holds_whole_state(chosen: _Choice, ir: IR, model: ModelFacts, hardware: HardwareFacts) -> bool:
    """Tell whether the first process can gather weights and, where they are trained, AdamW's two moments.

    Offloaded ones are in the same memory once more. An unknown memory counts as large enough.
    """
    half, full = 2, 4
    each = half if is_lora(ir) else (_TRAINED_COPIES - 1) * full
    each += _TRAINED_COPIES * full // hardware.num_nodes if chosen.offload else 0
    return not hardware.ram_bytes or (model.num_parameters or 0) * each <= hardware.ram_bytes * RAM_SHARE
