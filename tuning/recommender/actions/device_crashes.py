"""What the user set and the device or the installed packages cannot do: the least change that lets the run start.

Each combination was seen to fail with transformers 5.23, TRL 1.16 and torch 2.13; `tests/recommender` runs those that a
CPU shows. bf16 on GPUs that lack it is not here: torch emulates it, which is slow and does not fail.
"""

from __future__ import annotations

from dataclasses import replace

from tuning.config.ir import IR
from tuning.recommender.action import Action, Recommendation
from tuning.recommender.actions.crashes import must
from tuning.recommender.facts import Facts
from tuning.recommender.values import is_lora

_TF32_CAPABILITY = (8, 0)
_PACKAGES = {"flash_attention_2": ("flash_attn", "kernels"), "flash_attention_3": ("flash_attn_interface", "kernels")}
"""Attention kernels, and the packages of which one must be there for it: its own, or the one that fetches it."""

_OF_ANOTHER_MACHINE = ("gpu_compute_capability", "gpu_memory_gib", "num_gpus_per_node")
"""Fields of `compute` that tell of GPUs which need not be here, so that the packages of this machine tell nothing."""


class Bf16OnCpu(Action):
    """`use_cpu`, without which transformers takes bf16 for a mistake where there is no GPU."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Say that the CPU is meant."""
        names = [name for name in ("bf16", "bf16_full_eval") if ir.get(f"training.{name}") is True]
        if not names or not _on_cpu(facts) or ir.get("training.use_cpu") is True:
            return None
        comment = f"{names[0]} is true and there is no GPU; transformers then asks for use_cpu=true."
        return must({"training.use_cpu": True}, comment, "transformers 5.23, TrainingArguments")


class Fp16Weights(Action):
    """float32 weights under fp16 where they are trained: gradients of float16 weights cannot be unscaled."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Load trained weights as float32."""
        dtype = ir.get("model.dtype")
        saved = facts.model.dtype if facts.model is not None else None
        if ir.get("training.fp16") is not True or is_lora(ir) or (saved if dtype == "auto" else dtype) != "float16":
            return None
        comment = "fp16 scales the loss, and torch unscales gradients only of float32 weights."
        return must({"model.dtype": "float32"}, comment, "torch 2.13, GradScaler: Attempting to unscale FP16 gradients")


class Tf32(Action):
    """No TF32 where the device has none."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Turn it off below compute capability 8.0 and on CPUs."""
        if ir.get("training.tf32") is not True or facts.hardware is None:
            return None
        capability = facts.hardware.compute_capability
        if not _on_cpu(facts) and (capability is None or capability >= _TF32_CAPABILITY):
            return None
        comment = "TF32 needs a GPU of compute capability 8.0 or newer."
        return must({"training.tf32": False}, comment, "transformers 5.23, TrainingArguments")


class AttentionKernel(Action):
    """An attention that is there, where the one that was asked for is not."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Take sdpa, which gives the same results."""
        kernel = str(ir.get("model.attn_implementation", ""))
        elsewhere = any(ir.get(f"compute.{name}") is not None for name in _OF_ANOTHER_MACHINE)
        reason = _why_not(kernel, replace(facts, kernels=None) if elsewhere else facts)
        if reason is None:
            return None
        comment = f"{reason}; sdpa gives the same results."
        return must({"model.attn_implementation": "sdpa"}, comment, "transformers 5.23, PreTrainedModel")


class ActivationOffloading(Action):
    """No offloading of activations to the CPU on the CPU."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Turn it off where there is no other device."""
        if ir.get("training.activation_offloading") is not True or not _on_cpu(facts):
            return None
        comment = "Activations are on the CPU already, and TRL looks for a device to bring them from."
        return must({"training.activation_offloading": False}, comment, "TRL 1.16, get_act_offloading_ctx_manager")


def _on_cpu(facts: Facts) -> bool:
    return facts.hardware is not None and facts.hardware.accelerator == "cpu"


def _why_not(kernel: str, facts: Facts) -> str | None:
    if _on_cpu(facts):
        if kernel.startswith("flash_attention"):
            return f"{kernel} needs a GPU"
        return "flex_attention has no backward pass on a CPU" if kernel == "flex_attention" else None
    wanted = _PACKAGES.get(kernel)
    if wanted is None or facts.kernels is None or facts.kernels & set(wanted):
        return None
    return f"{kernel} needs the package {' or '.join(wanted)}, and neither is installed"
