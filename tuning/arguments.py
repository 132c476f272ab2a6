"""The one place where our names meet Hugging Face's: `TuningConfig` to `SFTConfig` and `LoraConfig`."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

from tuning.config.hf_fields import sft_config_fields
from tuning.config.schema import TuningConfig
from tuning.config.sections import Peft
from tuning.errors import UserError

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel
    from trl.trainer.sft_config import SFTConfig

_OURS = frozenset({"resume_from_checkpoint", "model_init_kwargs", "pad_token"})
"""Fields of SFTConfig that are acted on before the trainer exists."""


def sft_config(config: TuningConfig, assistant_only_loss: bool) -> SFTConfig:
    """Make TRL's arguments from the decided fields; what is undecided keeps Hugging Face's default.

    Raises:
        UserError: Hugging Face refuses a combination; its reason is passed on.
    """
    from trl.trainer.sft_config import SFTConfig

    decided: dict[str, Any] = {
        name: value
        for name, value in config.training.model_dump().items()
        if value is not None and name in sft_config_fields() and name not in _OURS
    }
    ours: dict[str, Any] = {"report_to": "none", "trust_remote_code": config.model.trust_remote_code}
    derived: dict[str, Any] = {"assistant_only_loss": assistant_only_loss, "disable_tqdm": not sys.stderr.isatty()}
    try:
        with warnings.catch_warnings():  # TRL sets the name that transformers has retired, whatever one chooses
            warnings.filterwarnings(
                "ignore", message=".*gradient_checkpointing.* is deprecated", category=FutureWarning
            )
            return SFTConfig(**derived | decided | ours)
    except (ValueError, TypeError, ImportError) as error:
        raise UserError(f"training: Hugging Face refuses these settings together: {error}") from error


def peft_config_of(config: TuningConfig, model: PreTrainedModel, new_token_ids: list[int]) -> LoraConfig | None:
    """Make PEFT's configuration; None: full fine-tuning. Where there are new tokens, the embeddings are trained too.

    They are trained whole, and the head with them: PEFT could train single rows, but TRL's loss reads the head's weight
    itself, and fails on PEFT's wrapper around such rows.
    """
    if config.peft.peft_method != "lora":
        return None
    from peft import LoraConfig

    fields = _lora_fields(config.peft)
    if new_token_ids:
        fields["modules_to_save"] = sorted({*(config.peft.modules_to_save or ()), *_embeddings_of(model)})
        fields["ensure_weight_tying"] = bool(model.config.tie_word_embeddings)
    return LoraConfig(task_type="CAUSAL_LM", **fields)


def _embeddings_of(model: PreTrainedModel) -> list[str]:
    """Name the input embeddings, and the head where it has weights of its own."""
    tied = bool(model.config.tie_word_embeddings)
    parts = [model.get_input_embeddings(), *([] if tied else [model.get_output_embeddings()])]
    return [name.rpartition(".")[2] for name, part in model.named_modules() if any(part is found for found in parts)]


def _lora_fields(peft: Peft) -> dict[str, Any]:
    return {name: value for name, value in peft.model_dump().items() if value is not None and name != "peft_method"}
