"""The plugin `training.fused_ops_and_kernels`: on CPU a loss and adapters of its own, on GPU Liger's kernels."""

from __future__ import annotations

import importlib.util
import logging
from typing import TYPE_CHECKING, Any

from tuning.acceleration.plugin import AccelerationPlugin
from tuning.config.section import Section

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel, TrainerCallback, TrainingArguments

logger = logging.getLogger(__name__)


class FusedOps(Section):
    """The stanza, with fms-acceleration's keys."""

    base_layer: str | None = None
    """fms-acceleration's hint what its LoRA kernels stand on (auto_gptq, bitsandbytes); not needed here."""
    fused_lora: bool = True
    """On a CPU in single precision: compute each adapter of LoRA with its layer, in one operation."""
    fast_loss: bool | str = True
    """On a CPU: make logits for supervised tokens alone, and their gradients in the same pass. Any text means true."""
    fast_rms_layernorm: bool = True
    """On a GPU with Liger: normalise in one kernel."""
    fast_rope_embeddings: bool = True
    """On a GPU with Liger: rotate queries and keys in one kernel."""
    raise_allocator_thresholds: bool = True
    """On a CPU with glibc: keep freed memory for the next step, instead of giving it back to the system."""


class FusedOpsPlugin(AccelerationPlugin):
    """Replaces the forward of one model, once its trainer exists."""

    settings = FusedOps

    @property
    def requires_augmentation(self) -> bool:
        """Tell that the arguments may change."""
        return True

    def augmentation(
        self, model: PreTrainedModel, train_args: TrainingArguments, modifiable_args: tuple[Any, ...] = (None,)
    ) -> tuple[PreTrainedModel, tuple[Any, ...]]:
        """On a GPU, let transformers put Liger's layers into the model where the package is installed."""
        if train_args.device.type == "cuda" and importlib.util.find_spec("liger_kernel") is not None:
            from tuning.acceleration.liger import choose_liger

            chosen: FusedOps = self.chosen_settings()
            choose_liger(
                model,
                train_args,
                rms_norm=chosen.fast_rms_layernorm,
                rope=chosen.fast_rope_embeddings,
                loss=bool(chosen.fast_loss),
            )
        return model, modifiable_args

    def get_callbacks_and_ready_for_train(
        self, model: PreTrainedModel | None = None, accelerator: Accelerator | None = None
    ) -> list[TrainerCallback]:
        """Replace the forward where the model is trained on a CPU; elsewhere TRL's Triton head stays."""
        chosen: FusedOps = self.chosen_settings()
        if model is None or model.device.type != "cpu":
            return []
        if chosen.raise_allocator_thresholds:
            from tuning.acceleration.allocator import raise_thresholds

            raise_thresholds()
        if chosen.fast_loss:
            _fuse_head(model)
        if chosen.fused_lora and hasattr(model, "get_base_model"):
            _fuse_lora(model, accelerator)
        return []


def _fuse_head(model: Any) -> None:
    from tuning.acceleration.fused_head import base_of, fuse_head, why_not_fusible

    base = base_of(model)
    if reason := why_not_fusible(base):
        logger.warning("fast_loss: %s keeps its own loss: %s", base.config.model_type, reason)
        return
    fuse_head(base)
    logger.info("fast_loss: logits are made for supervised tokens alone")


def _fuse_lora(model: Any, accelerator: Accelerator | None) -> None:
    from tuning.acceleration.fused_lora import fuse_lora

    if accelerator is not None and (reason := _why_peft(accelerator)):
        logger.info("fused_lora: PEFT computes the adapters: %s", reason)
        return
    num_fused, others = fuse_lora(model)
    logger.info("fused_lora: %d adapters are computed with their layers", num_fused)
    for reason, count in others.items():
        logger.info("fused_lora: PEFT computes %d adapters: %s", count, reason)


def _why_peft(accelerator: Accelerator) -> str | None:
    """Return why no adapter is fused in a run; None: nothing is against it."""
    if accelerator.mixed_precision != "no":
        return f"mixed precision is {accelerator.mixed_precision}"
    kind = accelerator.distributed_type.value
    return f"{kind} has the weights of a layer in parts" if kind in ("FSDP", "DEEPSPEED") else None
