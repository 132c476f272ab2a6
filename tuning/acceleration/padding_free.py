"""The plugin `training.attention.padding_free`: the rows of a batch are joined into one, so that nothing is padded."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal

from tuning.acceleration.plugin import AccelerationPlugin
from tuning.acceleration.supported import why_no_varlen_attention
from tuning.config.section import Section

if TYPE_CHECKING:
    from collections.abc import Mapping

    from accelerate import Accelerator
    from transformers import PreTrainedModel, TrainerCallback, TrainingArguments

logger = logging.getLogger(__name__)


class PaddingFree(Section):
    """The stanza, as fms-acceleration has it."""

    method: Literal["huggingface"] = "huggingface"
    """Positions that restart keep the rows apart, in transformers' own way."""


class PaddingFreePlugin(AccelerationPlugin):
    """Has rows joined by TRL's collator, or by one of ours where transformers' own trainer has none."""

    settings = PaddingFree

    def __init__(self, configurations: Mapping[str, Mapping[str, Any]]) -> None:
        super().__init__(configurations)
        self.joins_rows = False

    @property
    def requires_augmentation(self) -> bool:
        """Tell that the model may attend in another way."""
        return True

    def augmentation(
        self, model: PreTrainedModel, train_args: TrainingArguments, modifiable_args: tuple[Any, ...] = (None,)
    ) -> tuple[PreTrainedModel, tuple[Any, ...]]:
        """Choose how the model attends, and have rows joined; a model that cannot keep them apart is left as it is."""
        if not _prepare_model(model):
            return model, modifiable_args
        if hasattr(train_args, "padding_free"):
            args: Any = train_args  # TRL's; its collator joins the rows
            args.padding_free = True
            if not args.packing:
                args.max_length = None  # TRL refuses to cut rows that it joins; ours are cut before
        else:
            self.joins_rows = True
        return model, modifiable_args

    def get_callbacks_and_ready_for_train(
        self, model: PreTrainedModel | None = None, accelerator: Accelerator | None = None
    ) -> list[TrainerCallback]:
        """Return what puts a collator into the trainer's data loader, for a trainer that has none of its own."""
        if not self.joins_rows:
            return []
        from tuning.acceleration.joined_rows import JoinRowsCallback

        return [JoinRowsCallback()]


def _prepare_model(model: PreTrainedModel) -> bool:
    """Give the model the attention that is fastest here and keeps rows apart; returns whether there is one."""
    from tuning.acceleration.joined_rows import keeps_rows_apart
    from tuning.acceleration.varlen_attention import ATTENTION, register_varlen_attention

    kind, before = model.config.model_type, str(model.config._attn_implementation)
    if model.device.type == "cpu":
        reason = why_no_varlen_attention(kind)
        if reason is None and before in {"sdpa", ATTENTION}:
            model.set_attn_implementation(register_varlen_attention())
        else:
            logger.warning(
                "padding_free: %s attends by %s over the whole batch, which is right but slow: %s",
                kind,
                before,
                reason or "the kernel takes the place of sdpa alone",
            )
    if keeps_rows_apart(model):
        return True
    model.set_attn_implementation(before)
    logger.warning("padding_free: rows of one sequence would see each other in %s, so they are padded instead", kind)
    return False
