"""The one place where our names meet Hugging Face's: `TuningConfig` to `SFTConfig` and `LoraConfig`."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

from tuning.config.hf_fields import sft_config_fields
from tuning.config.peft_fields import FIELD_OWNERS
from tuning.config.rules import quantizes
from tuning.config.schema import TuningConfig
from tuning.config.sections import LORA_METHODS, Peft
from tuning.errors import UserError

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from trl.trainer.sft_config import SFTConfig

_OURS = frozenset(
    {"resume_from_checkpoint", "model_init_kwargs", "pad_token", "assistant_only_loss", "truncation_mode"}
)
"""Fields of SFTConfig that are acted on before the trainer exists."""
_VIRTUAL_TOKENS = 8
"""Source: the default of fms-hf-tuning."""


def sft_config(config: TuningConfig) -> SFTConfig:
    """Make TRL's arguments from the decided fields; what is undecided keeps Hugging Face's default.

    TRL is told that the rows are tokens already, cut to their length; where rows share a sequence, that positions keep
    them apart, in evaluation, too.

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
    derived: dict[str, Any] = {"disable_tqdm": not sys.stderr.isatty()}
    if (decided.get("metric_for_best_model") or "").removeprefix("eval_") == "perplexity":
        derived["greater_is_better"] = False  # transformers takes it for a gain: its name does not end in loss
    if config.peft.peft_method == "alora":
        derived["gradient_checkpointing"] = False  # which is TRL's default, and PEFT's aLoRA cannot have it
    decided["dataset_kwargs"] = {**(decided.get("dataset_kwargs") or {}), "skip_prepare_dataset": True}
    try:
        with warnings.catch_warnings():  # TRL sets the name that transformers has retired, whatever one chooses
            warnings.filterwarnings(
                "ignore", message=".*gradient_checkpointing.* is deprecated", category=FutureWarning
            )
            return _without_preparation(SFTConfig(**derived | decided | ours))
    except (ValueError, TypeError, ImportError) as error:
        raise UserError(f"training: Hugging Face refuses these settings together: {error}") from error


def _without_preparation(args: SFTConfig) -> SFTConfig:
    """Keep packed rows apart by their positions, and TRL from cutting rows that are cut."""
    args.padding_free = bool(args.padding_free or args.packing or args.eval_packing)
    if args.padding_free and not args.packing:
        args.max_length = None
    return args


def peft_config_of(
    config: TuningConfig, model: PreTrainedModel, new_token_ids: list[int], tokenizer: PreTrainedTokenizerBase
) -> PeftConfig | None:
    """Make PEFT's configuration; None: full fine-tuning. Where there are new tokens, the embeddings are trained too.

    They are trained whole, and the head with them: PEFT could train single rows, but TRL's loss reads the head's weight
    itself, and fails on PEFT's wrapper around such rows.
    """
    if config.peft.peft_method == "pt":
        return _prompt_config(config, new_token_ids)
    if config.peft.peft_method == "ia3":
        return _ia3_config(config.peft, new_token_ids)
    if config.peft.peft_method not in LORA_METHODS:
        return None
    from peft import LoraConfig

    fields = _lora_fields(config.peft)
    if config.peft.init_lora_weights == "loftq":
        fields["loftq_config"] = _loftq_config(config)
    if config.peft.peft_method == "alora":
        fields["alora_invocation_tokens"] = invocation_tokens(config.peft, tokenizer)
    if new_token_ids:
        fields["modules_to_save"] = sorted({*(config.peft.modules_to_save or ()), *_embeddings_of(model)})
        fields["ensure_weight_tying"] = bool(model.config.tie_word_embeddings)
    return LoraConfig(task_type="CAUSAL_LM", **fields)


def _loftq_config(config: TuningConfig) -> dict[str, Any]:
    """Complete LoftQ's own fields.

    Raises:
        UserError: LoftQ cannot quantize here, or not these weights.
    """
    import torch

    if not torch.cuda.is_available():
        raise UserError("peft.init_lora_weights: loftq quantizes on a GPU, and there is none; take pissa, or a GPU")
    if quantizes(config):
        raise UserError("peft.init_lora_weights: loftq quantizes the weights itself; leave load_in_4bit and 8bit out")
    return {"loftq_bits": 4, "loftq_iter": 1, **(config.peft.loftq_config or {})}


def _embeddings_of(model: PreTrainedModel) -> list[str]:
    """Name the input embeddings, and the head where it has weights of its own."""
    tied = bool(model.config.tie_word_embeddings)
    parts = [model.get_input_embeddings(), *([] if tied else [model.get_output_embeddings()])]
    return [name.rpartition(".")[2] for name, part in model.named_modules() if any(part is found for found in parts)]


def _lora_fields(peft: Peft) -> dict[str, Any]:
    other = {"peft_method", *FIELD_OWNERS}
    return {name: value for name, value in peft.model_dump().items() if value is not None and name not in other}


def _ia3_config(peft: Peft, new_token_ids: list[int]) -> PeftConfig:
    """Make PEFT's configuration of (IA)³.

    Raises:
        UserError: there are new tokens, whose embeddings it cannot train.
    """
    from peft import IA3Config

    if new_token_ids:
        raise UserError("peft.peft_method: ia3 trains no embeddings, and the tokenizer has new tokens")
    names = ("target_modules", "exclude_modules", "modules_to_save", "feedforward_modules")
    given = {name: getattr(peft, name) for name in names if getattr(peft, name) is not None}
    return IA3Config(task_type="CAUSAL_LM", **given)


def invocation_tokens(peft: Peft, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the token ids from which on the adapters of aLoRA act."""
    if peft.alora_invocation_tokens is not None:
        return peft.alora_invocation_tokens
    return tokenizer.encode(str(peft.alora_invocation_string), add_special_tokens=False)


def _prompt_config(config: TuningConfig, new_token_ids: list[int]) -> PeftConfig:
    """Make PEFT's configuration of prompt tuning.

    Raises:
        UserError: there are new tokens, whose embeddings prompt tuning cannot train.
    """
    from peft import PromptTuningConfig

    if new_token_ids:
        raise UserError("peft.peft_method: prompt tuning trains no embeddings, and the tokenizer has new tokens")
    peft, model = config.peft, config.model
    init = peft.prompt_tuning_init or ("TEXT" if peft.prompt_tuning_init_text is not None else "SAMPLE_VOCAB")
    text: dict[str, Any] = {}
    if init == "TEXT":
        text = {"prompt_tuning_init_text": peft.prompt_tuning_init_text}
        text["tokenizer_name_or_path"] = model.tokenizer_name_or_path or model.model_name_or_path
        text["tokenizer_kwargs"] = {"trust_remote_code": model.trust_remote_code}
    virtual = peft.num_virtual_tokens or _VIRTUAL_TOKENS
    return PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=virtual, prompt_tuning_init=init, **text)
