"""The optimizer, its learning rate and how that rises and falls."""

from __future__ import annotations

import math
from typing import NamedTuple

from tuning.config.ir import IR
from tuning.recommender.action import Action, Kind, Recommendation, suggest
from tuning.recommender.facts import Facts
from tuning.recommender.learning_rates import measured
from tuning.recommender.schedule import sequences_per_update, total_steps
from tuning.recommender.values import (
    counted,
    is_from_scratch,
    is_ia3,
    is_lora,
    is_prompt_tuning,
    parameters,
    two_digits,
)

_REFERENCE_PARAMETERS = 8e9
_REFERENCE_BATCH = 128
_BATCH_RANGE = (0.55, 1.5)
_FEW_STEPS, _FEW_STEPS_FACTOR = 100, 1.5
_SCRATCH_RATE, _SCRATCH_PARAMETERS, _SCRATCH_RANGE = 6e-4, 125e6, (1e-4, 1e-2)
_PROMPT_RATE, _IA3_RATE = 3e-2, 3e-3
_SHORT_RUN_STEPS = 50
_WARMUP_SHARE, _MOST_WARMUP_STEPS = 0.03, 100

_SWEEP = (
    "tinker-cookbook's SFT sweep (Tulu 3, batch 128) by family and size, full a tenth of LoRA's; small batches lower "
    "it less than by the square root (Marek et al., arXiv 2507.07101); own runs at 1 M parameters, 100 steps of 8 and "
    "16: best 3e-3 to 4e-3 in full, 6e-3 to 1.2e-2 for LoRA"
)
_PROMPT = "PEFT's guide to prompt tuning of causal models: AdamW with 3e-2"
_IA3 = "Liu et al., arXiv 2205.05638, section 3.4: 3e-3"
_SCRATCH = (
    "Brown et al., arXiv 2005.14165, table 2.1: 6e-4 at 125 M, 1e-4 at 13 B; own runs, 225 steps of 16: best 6e-3 at "
    "0.17 M and 2e-3 to 4e-3 at 0.93 M"
)


class _Rule(NamedTuple):
    """A rate at 8 billion parameters and 128 sequences per update, and how it grows as models get smaller.

    `share_of_lora` carries what was measured with LoRA over to this method.
    """

    name: str
    rate: float
    exponent: float
    least: float
    most: float
    share_of_lora: float


_LORA = _Rule("LoRA", rate=3e-4, exponent=0.5, least=2e-4, most=1.45e-2, share_of_lora=1)
_FULL = _Rule("Full", rate=3e-5, exponent=0.6, least=5e-6, most=1e-2, share_of_lora=0.1)


class LearningRate(Action):
    """The rate that published sweeps found best for the method, carried over to this size and batch."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Work the rate out from the number of parameters, the sequences per update and the steps."""
        count = facts.model.num_parameters if facts.model is not None else None
        if is_from_scratch(ir):
            return _from_scratch(count)
        if is_prompt_tuning(ir):
            comment = "A few virtual tokens need a rate far above that of weights."
            return suggest({"training.learning_rate": _PROMPT_RATE}, comment, Kind.MODEL_QUALITY, _PROMPT)
        if is_ia3(ir):
            comment = "Factors that begin at one need a rate above that of weights."
            return suggest({"training.learning_rate": _IA3_RATE}, comment, Kind.MODEL_QUALITY, _IA3)
        batch, steps = sequences_per_update(ir, facts), total_steps(ir, facts)
        rate, parts = _at_this_size(_LORA if is_lora(ir) else _FULL, facts)
        if batch:
            rate *= min(max(math.sqrt(batch / _REFERENCE_BATCH), _BATCH_RANGE[0]), _BATCH_RANGE[1])
            parts.append(f"{rate:.2g} with {batch} sequences per update")
        if is_lora(ir) and steps is not None and steps < _FEW_STEPS:
            rate *= _FEW_STEPS_FACTOR
            parts.append(f"{_FEW_STEPS_FACTOR} times that for only {counted(steps, 'step')}")
        comment = ", ".join(parts) + "."
        return suggest({"training.learning_rate": two_digits(rate)}, comment, Kind.MODEL_QUALITY, _SWEEP)


class Scheduler(Action):
    """A cosine down to zero; constant where a run is too short for one."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Choose by the number of steps."""
        steps = total_steps(ir, facts)
        if steps is not None and steps < _SHORT_RUN_STEPS:
            scheduler, comment = (
                "constant_with_warmup",
                f"In {counted(steps, 'step')} a falling rate would leave too little learning.",
            )
        else:
            scheduler = "cosine"
            comment = "A rate that falls to zero settles better than one that ends high."
        values = {"training.lr_scheduler_type": scheduler}
        return suggest(
            values, comment, Kind.MODEL_QUALITY, "215 of 225 of axolotl's examples that name a scheduler: cosine"
        )


class Warmup(Action):
    """A short rise, in steps."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Take 3 percent of the steps, at most 100."""
        steps = total_steps(ir, facts)
        if steps is None:
            warmup, comment = _WARMUP_SHARE, f"{_WARMUP_SHARE:.0%} of the steps, whose number is not known yet."
        else:
            warmup = min(math.ceil(_WARMUP_SHARE * steps), _MOST_WARMUP_STEPS)
            comment = f"{_WARMUP_SHARE:.0%} of {counted(steps, 'step')}, at most {_MOST_WARMUP_STEPS}."
        return suggest(
            {"training.warmup_steps": warmup}, comment, Kind.MODEL_QUALITY, "axolotl: the lesser of 3% and 100"
        )


class Optimizer(Action):
    """AdamW in one fused kernel."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Take the fused kernel where torch has one: on CPUs and NVIDIA GPUs."""
        if facts.hardware is None or facts.hardware.accelerator not in ("cuda", "cpu"):
            return None
        comment = "One kernel updates all weights; the mathematics is AdamW's."
        values = {"training.optim": "adamw_torch_fused"}
        return suggest(values, comment, Kind.SYSTEM_PERFORMANCE, "torch's documentation of AdamW: fused is the fastest")


class WeightDecay(Action):
    """None for adapters, little for weights that are good already, more for random ones."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Choose by what is trained."""
        if is_from_scratch(ir):
            decay, comment, source = (
                0.1,
                "The usual decay of pretraining.",
                "Brown et al., arXiv 2005.14165, appendix B",
            )
        elif is_lora(ir) or is_prompt_tuning(ir) or is_ia3(ir):
            decay, comment, source = (
                0.0,
                "Decay would pull what is trained back to the untuned model.",
                "torchtune, tinker-cookbook",
            )
        else:
            decay, comment, source = (
                0.01,
                "A little decay; more would pull pretrained weights away.",
                "torch's AdamW default",
            )
        return suggest({"training.weight_decay": decay}, comment, Kind.MODEL_QUALITY, source)


def _at_this_size(rule: _Rule, facts: Facts) -> tuple[float, list[str]]:
    """Take the rate that was measured for the model's family and size, else carry the one of 8 billion over."""
    count = facts.model.num_parameters if facts.model is not None else None
    found = measured(facts.model.model_type, count) if facts.model is not None else None
    name = f"{rule.name} fine-tuning of {_size(count)}"
    if found is not None:
        rate = found.rate * rule.share_of_lora
        share = "" if rule.share_of_lora == 1 else f", of which full fine-tuning takes {rule.share_of_lora:g}"
        return rate, [f"{name}: {found.rate:g} was the best of {found.model} with LoRA at batch 128{share}"]
    parts = [f"{name}: {rule.rate:g} at 8 billion and batch 128"]
    if not count:
        return rule.rate, parts
    rate = min(max(rule.rate * (_REFERENCE_PARAMETERS / count) ** rule.exponent, rule.least), rule.most)
    return rate, [*parts, f"{rate:.2g} at this size"]


def _from_scratch(count: int | None) -> Recommendation | None:
    """Follow the cube root of the size, through GPT-3's smallest model."""
    if not count:
        return None
    low, high = _SCRATCH_RANGE
    rate = two_digits(min(max(_SCRATCH_RATE * (_SCRATCH_PARAMETERS / count) ** (1 / 3), low), high))
    comment = f"{parameters(count)} random parameters: {_SCRATCH_RATE:g} at 125 million, by the cube root of the size."
    return suggest({"training.learning_rate": rate}, comment, Kind.MODEL_QUALITY, _SCRATCH)


def _size(count: int | None) -> str:
    return f"{parameters(count)} parameters" if count else "a model of unknown size"
