"""Liger's layers for GPUs, through transformers' own switch; there has been no GPU to run this module on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainingArguments

logger = logging.getLogger(__name__)


def choose_liger(
    model: PreTrainedModel, train_args: TrainingArguments, *, rms_norm: bool, rope: bool, loss: bool
) -> bool:
    """Turn on the layers that were asked for, where Liger knows the model; returns whether it does.

    TRL's trainer has a head of its own for the loss, and refuses Liger's.
    """
    from importlib import import_module

    known = import_module("liger_kernel.transformers.monkey_patch").MODEL_TYPE_TO_APPLY_LIGER_FN
    args: Any = train_args
    if model.config.model_type not in known:
        logger.warning("fused_ops_and_kernels: Liger has no kernels for %s", model.config.model_type)
        return False
    is_trl = hasattr(args, "padding_free")
    args.use_liger_kernel = True
    args.liger_kernel_config = {
        "rms_norm": rms_norm,
        "rope": rope,
        "fused_linear_cross_entropy": loss and not is_trl,
        **(args.liger_kernel_config or {}),
    }
    return True
