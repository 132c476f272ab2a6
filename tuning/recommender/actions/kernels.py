"""Fused kernels for the layers between attention and loss."""

from __future__ import annotations

from tuning.config.ir import IR
from tuning.recommender.action import Action, Kind, Recommendation, suggest
from tuning.recommender.facts import Facts

_SOURCE = (
    "Hsu et al., Liger Kernel (arXiv 2410.10989): fused norms, rotary positions and activations; TRL 1.16's SFTTrainer "
    "leaves out Liger's loss, because it has a fused one of its own"
)


class LigerKernel(Action):
    """Liger's layers on an NVIDIA GPU, for a model type that the installed Liger knows."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Leave out what would not go together: experts, compiled models, other kernels, Liger's own loss."""
        model, hardware = facts.model, facts.hardware
        if model is None or hardware is None or hardware.accelerator != "cuda":
            return None
        if "liger_kernel" not in (facts.kernels or ()) or not model.architecture.has_liger_kernels:
            return None
        if model.shape is None or model.shape.num_experts or _conflicts(ir):
            return None
        comment = (
            f"liger_kernel is installed and has kernels for {model.model_type}: norms, rotary positions and MLPs keep "
            "fewer activations. TRL says that it will take this option out in 2.0."
        )
        return suggest({"training.use_liger_kernel": True}, comment, Kind.SYSTEM_PERFORMANCE, _SOURCE)


def _conflicts(ir: IR) -> bool:
    paths = (
        "training.liger_kernel_config.fused_linear_cross_entropy",
        "training.model_init_kwargs.use_kernels",
        "training.torch_compile",
    )
    return any(ir.get(path) for path in paths)
