"""What the plugins that load quantized weights share: adapters are all that can be trained on such a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuning.errors import UserError

if TYPE_CHECKING:
    from peft import PeftConfig, PeftMixedModel, PeftModel
    from transformers import PreTrainedModel, TrainingArguments


def with_adapters(
    model: PreTrainedModel, train_args: TrainingArguments, peft_config: PeftConfig | None, path: str
) -> PeftModel | PeftMixedModel:
    """Put adapters on quantized weights; the trainer then has none to make.

    Raises:
        UserError: there is no `peft_config`.
    """
    if peft_config is None:
        raise UserError(f"{path}: quantized weights cannot be trained; adapters on them can. Set peft_method=lora.")
    from peft import get_peft_model

    if train_args.gradient_checkpointing:
        # Checkpoints that are entered anew only pass gradients on where their inputs ask for some.
        model.enable_input_require_grads()
    return get_peft_model(model, peft_config)


def refuse_second_quantization(path: str, options: dict[str, Any]) -> None:
    """Refuse to quantize where the configuration quantizes already.

    Raises:
        UserError: the options of `from_pretrained` hold a `quantization_config`.
    """
    if options.get("quantization_config") is not None:
        raise UserError(
            f"{path}: quantization.load_in_4bit or load_in_8bit asks for quantized weights, too; leave one of them out"
        )
