"""Whether the frozen weights under LoRA are quantized: only where they would not fit otherwise."""

from __future__ import annotations

from dataclasses import replace

from tuning.config.ir import IR
from tuning.recommender.action import Action, Kind, Level, Recommendation, suggest
from tuning.recommender.facts import Facts
from tuning.recommender.memory_plan import gib, least_step, needed_and_budget, needing
from tuning.recommender.values import by_user, is_from_scratch, is_lora

_QLORA = "Dettmers et al., QLoRA (arXiv 2305.14314): nf4 with double quantization learns as 16 bits do, fp4 less well"


class Quantization(Action):
    """nf4 where LoRA on half-precision weights does not fit; weights that FSDP divides stay as they are."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Compare a step on whole weights, and one on quantized weights, with the memory of the device."""
        if facts.model is not None and facts.model.quantization_method:
            return _already(ir, facts.model.quantization_method)
        if by_user(ir, "quantization.load_in_4bit") is True:
            comment = "load_in_4bit is set; bitsandbytes alone would take fp4, which keeps less of the weights."
            return suggest(_details(ir), comment, Kind.MODEL_QUALITY, _QLORA)
        if not is_lora(ir) or is_from_scratch(ir) or by_user(ir, "quantization.load_in_8bit") is True:
            return None
        step = least_step(ir, facts)
        whole_weights = needed_and_budget(replace(step, load_in_4bit=False), facts)
        quantized = needed_and_budget(replace(step, load_in_4bit=True), facts)
        if whole_weights is None or quantized is None or whole_weights[0] <= whole_weights[1]:
            return None
        needed, budget = map(gib, whole_weights)
        comment = f"{needing(step)} about {needed} under LoRA, of {budget}"
        if step.num_shards > 1 or ir.get("accelerate.distributed_type") == "FSDP":
            comment += ", even divided (FSDP), which is not tried with weights in 4 bits: take more devices or memory."
            return suggest({}, comment, Kind.SYSTEM_PERFORMANCE, _QLORA, Level.USER_INTERVENTION)
        if quantized[0] > quantized[1]:
            comment += f"; with weights in 4 bits still {gib(quantized[0])}: take a smaller model or more memory."
            return suggest({}, comment, Kind.SYSTEM_PERFORMANCE, _QLORA, Level.USER_INTERVENTION)
        comment += f"; with weights in 4 bits {gib(quantized[0])}. This needs the extra quantization."
        values = {"quantization.load_in_4bit": True}
        if by_user(ir, "quantization.load_in_4bit") is None:
            values |= _details(ir)
        return suggest(values, comment, Kind.SYSTEM_PERFORMANCE, _QLORA)


def _already(ir: IR, method: str) -> Recommendation | None:
    """Tell a user who asks for it that weights cannot be quantized twice."""
    asked = [name for name in ("load_in_4bit", "load_in_8bit") if by_user(ir, f"quantization.{name}") is True]
    if not asked:
        return None
    comment = f"The weights are quantized already ({method}), and are trained on as they are."
    source = "transformers keeps the quantization_config of the model"
    values = {f"quantization.{name}": None for name in asked}
    return suggest(values, comment, Kind.COMPATIBILITY, source, Level.USER_INTERVENTION)


def _details(ir: IR) -> dict[str, str | bool]:
    half = "bfloat16" if ir.get("training.bf16") is True else "float16" if ir.get("training.fp16") is True else None
    return {
        "quantization.bnb_4bit_quant_type": "nf4",
        "quantization.bnb_4bit_use_double_quant": True,
        "quantization.bnb_4bit_compute_dtype": half or "float32",
    }
