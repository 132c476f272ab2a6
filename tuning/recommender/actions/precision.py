"""The number formats of a run: what matrices multiply in, and what the weights are loaded in."""

from __future__ import annotations

from dataclasses import replace

from tuning.config.ir import IR
from tuning.recommender.action import Action, Kind, Level, Recommendation, suggest
from tuning.recommender.facts import Facts
from tuning.recommender.hardware_facts import HardwareFacts
from tuning.recommender.memory_plan import fits, gib, needed_and_budget, planned_step
from tuning.recommender.values import by_user, is_from_scratch, is_lora

_BF16_CAPABILITY = (8, 0)
_FP16_CAPABILITY = (7, 0)
_HARDWARE = "NVIDIA's table of compute capabilities; Intel's AMX and AVX-512 BF16 for CPUs"
_MASTER_WEIGHTS = "Micikevicius et al., Mixed Precision Training, 2018: updates below half precision's steps are lost"


class MixedPrecision(Action):
    """bf16 where the hardware has it, fp16 on older GPUs, else float32; TRL would take bf16 everywhere."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Choose by compute capability or CPU flags; the user's own choice of one rules out the other."""
        if (hardware := facts.hardware) is None or hardware.accelerator not in ("cuda", "cpu"):
            return None
        for chosen, other in (("bf16", "fp16"), ("fp16", "bf16")):
            if by_user(ir, f"training.{chosen}") is True:
                comment = f"{chosen} is set, and only one of the two can be."
                return suggest(
                    {f"training.{other}": False}, comment, Kind.COMPATIBILITY, "transformers' TrainingArguments"
                )
        on_cpu = hardware.accelerator == "cpu" or ir.get("training.use_cpu") is True
        bf16, fp16, comment = _by_cpu(hardware, ir) if on_cpu else _by_gpu(hardware)
        values = {"training.bf16": bf16, "training.fp16": fp16}
        if bf16 and on_cpu:
            values["training.use_cpu"] = True  # transformers takes bf16 without a GPU only when it is told so
        return suggest(values, comment, Kind.SYSTEM_PERFORMANCE, _HARDWARE)


class WeightsDtype(Action):
    """float32 for weights that are trained; half precision for frozen ones."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Keep an optimizer from losing small updates, and frozen weights from taking twice the memory."""
        if facts.model is not None and facts.model.quantization_method:
            return None
        if not is_lora(ir):
            return _trained_dtype(ir, facts)
        if facts.hardware is None or facts.hardware.accelerator not in ("cuda", "cpu"):
            return None
        dtype = _frozen_dtype(ir, facts.hardware)
        comment = f"The weights are frozen under LoRA, and the device computes well in {dtype}; adapters stay float32."
        return suggest({"model.dtype": dtype}, comment, Kind.SYSTEM_PERFORMANCE, "PEFT keeps adapters in float32")


def _by_gpu(hardware: HardwareFacts) -> tuple[bool, bool, str]:
    capability, name = hardware.compute_capability, hardware.gpu.name if hardware.gpu else "GPU"
    if capability is None or capability < _FP16_CAPABILITY:
        known = "unknown" if capability is None else "{}.{}".format(*capability)
        return False, False, f"{name} has compute capability {known}: no fast half precision, so float32."
    version = "{}.{}".format(*capability)
    if capability < _BF16_CAPABILITY:
        return False, True, f"{name} has compute capability {version}, which multiplies in fp16 and has no bf16."
    return True, False, f"{name} has compute capability {version}, which multiplies in bf16 at full range."


def _by_cpu(hardware: HardwareFacts, ir: IR) -> tuple[bool, bool, str]:
    if not hardware.has_cpu_bf16:
        return False, False, "This CPU has neither AMX nor AVX-512 BF16, so bf16 would be slower than float32."
    if by_user(ir, "training.use_cpu") is False:
        return False, False, "use_cpu is false, and transformers takes bf16 on a CPU only where it is true."
    return True, False, "This CPU multiplies in bf16 (AMX or AVX-512 BF16)."


def _frozen_dtype(ir: IR, hardware: HardwareFacts) -> str:
    if hardware.accelerator == "cuda" and ir.get("training.bf16") is True:
        return "bfloat16"
    return "float16" if hardware.accelerator == "cuda" and ir.get("training.fp16") is True else "float32"


def _trained_dtype(ir: IR, facts: Facts) -> Recommendation:
    """Choose float32 unless only pure bf16 fits the device, which is said loudly."""
    full = replace(planned_step(ir, facts), rows=1, dtype_bytes=4, gradient_checkpointing=True)
    half = replace(full, dtype_bytes=2)
    found = needed_and_budget(full, facts)
    if ir.get("training.bf16") is True and found is not None and found[0] > found[1] and fits(half, facts):
        comment = (
            f"float32 weights need about {gib(found[0])} of {gib(found[1])}; bfloat16 fits, but loses small "
            "updates: prefer LoRA or more devices."
        )
        return suggest(
            {"model.dtype": "bfloat16"}, comment, Kind.MODEL_QUALITY, _MASTER_WEIGHTS, Level.USER_INTERVENTION
        )
    started = "start from random" if is_from_scratch(ir) else "are all trained"
    comment = f"The weights {started}, and an optimizer loses small updates in half precision."
    return suggest({"model.dtype": "float32"}, comment, Kind.MODEL_QUALITY, _MASTER_WEIGHTS)
