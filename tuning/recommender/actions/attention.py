"""The kernel that attention runs in."""

from __future__ import annotations

from tuning.config.ir import IR
from tuning.recommender.action import Action, Kind, Recommendation, suggest
from tuning.recommender.facts import Facts
from tuning.recommender.hardware_facts import HardwareFacts
from tuning.recommender.model_facts import ModelFacts
from tuning.recommender.values import by_user

_FLASH_CAPABILITY = (8, 0)
_HOPPER = 9
_LARGEST_HEAD = 256
_HALF = ("bfloat16", "float16")
_SOURCE = (
    "the FlashAttention repository: version 2 for compute capability 8.0 and up, 3 for Hopper, heads up to 256, fp16 "
    "and bf16; which model types take it: transformers' source"
)


class Attention(Action):
    """FlashAttention where the GPU, the model and the installed packages allow it; else what transformers takes."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Choose the newest version that can run; `use_flash_attn` says the same thing, and then decides."""
        if facts.model is None or facts.hardware is None or facts.kernels is None:
            return None
        if by_user(ir, "model.use_flash_attn") is not None or not _is_half(ir) or not _takes_flash(facts.model):
            return None
        chosen = _version(facts.hardware, facts.kernels)
        if chosen is None:
            return None
        implementation, package = chosen
        head = facts.model.shape.head_dim if facts.model.shape is not None else None
        comment = (
            f"{package} is installed, the GPU has capability {_capability(facts.hardware)}, and heads of {head} in "
            "half precision fit its kernels, which keep no matrix of scores and tell packed rows apart."
        )
        return suggest({"model.attn_implementation": implementation}, comment, Kind.SYSTEM_PERFORMANCE, _SOURCE)


def _is_half(ir: IR) -> bool:
    """Tell whether queries and keys come in half precision: by autocast, or from weights that are."""
    autocast = ir.get("training.bf16") is True or ir.get("training.fp16") is True
    return autocast or by_user(ir, "model.dtype") in _HALF


def _takes_flash(model: ModelFacts) -> bool:
    """Tell whether the model works with FlashAttention's own kernels; some take only kernels from the Hub."""
    architecture = model.architecture
    if architecture.supports_flash_attn is not True or architecture.flash_implementations or model.shape is None:
        return False
    return model.shape.head_dim <= _LARGEST_HEAD


def _version(hardware: HardwareFacts, kernels: frozenset[str]) -> tuple[str, str] | None:
    capability = hardware.compute_capability
    if hardware.accelerator != "cuda" or capability is None or capability < _FLASH_CAPABILITY:
        return None
    if capability[0] == _HOPPER and "flash_attn_interface" in kernels:
        return "flash_attention_3", "flash_attn_interface"
    return ("flash_attention_2", "flash_attn") if "flash_attn" in kernels else None


def _capability(hardware: HardwareFacts) -> str:
    return "{}.{}".format(*(hardware.compute_capability or (0, 0)))
