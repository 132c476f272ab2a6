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
        """Choose how the model attends, and have rows joined; what cannot keep them apart is left as it is."""
        if _needs_rows_alone(modifiable_args[0]) or not _prepare_model(model):
            return model, modifiable_args
        if hasattr(train_args, "padding_free"):
            args: Any = train_args  # TRL's; its collator joins the rows
            args.padding_free = True
            if not args.packing:
                _cut_nothing(args)
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


def _needs_rows_alone(peft_config: Any) -> bool:
    """Tell of adapters that act once in a sequence: virtual tokens before it, or an invocation in it."""
    acts_once = getattr(peft_config, "is_prompt_learning", False) or getattr(
        peft_config, "alora_invocation_tokens", None
    )
    if acts_once:
        logger.warning("padding_free: %s needs each row by itself, so rows are padded", type(peft_config).__name__)
    return bool(acts_once)


def _cut_nothing(args: Any) -> None:
    """Take the length from TRL's arguments: it refuses to cut rows that it joins. Ours are cut before."""
    if args.max_length is not None and not (args.dataset_kwargs or {}).get("skip_prepare_dataset"):
        logger.warning("padding_free: TRL cuts no rows that it joins; cut them to %d tokens before", args.max_length)
    args.max_length = None


def _prepare_model(model: PreTrainedModel) -> bool:
    """Give the model the attention that is fastest here and keeps rows apart; returns whether there is one."""
    from tuning.acceleration.joined_rows import keeps_rows_apart
    from tuning.acceleration.varlen_attention import ATTENTION, register_varlen_attention

    kind, before, slow = model.config.model_type, str(model.config._attn_implementation), None
    if model.device.type == "cpu":
        slow = why_no_varlen_attention(kind)
        if slow is None and before in {"sdpa", ATTENTION}:
            model.set_attn_implementation(register_varlen_attention())
        else:
            slow = slow or "the kernel takes the place of sdpa alone"
    if keeps_rows_apart(model):
        if slow is not None:
            told = "padding_free: %s attends by %s over the whole batch, which is right but slow: %s"
            logger.warning(told, kind, before, slow)
        return True
    model.set_attn_implementation(before)
    logger.warning("padding_free: rows of one sequence would see each other in %s, so they are padded instead", kind)
    return False
