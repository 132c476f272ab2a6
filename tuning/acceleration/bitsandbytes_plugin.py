"""Load a model with its weights in 4 or 8 bits through bitsandbytes, and train adapters on it (QLoRA)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal

from pydantic import model_validator

from tuning.acceleration.plugin import AccelerationPlugin
from tuning.acceleration.quantized_base import refuse_second_quantization, with_adapters
from tuning.config.section import Section
from tuning.quantization import keep_gradients

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig, PreTrainedModel, TrainingArguments

PATH = "peft.quantization.bitsandbytes"


class BitsAndBytesSettings(Section):
    """The stanza `peft.quantization.bitsandbytes`."""

    quant_type: Literal["nf4", "fp4", "int8"] = "nf4"
    """Type of the stored weights."""
    bnb_4bit_use_double_quant: bool = True
    """Quantize the scales of 4-bit weights, too; the default of fms-acceleration."""
    bnb_4bit_compute_dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Type in which 4-bit weights are multiplied; None: the model's `dtype`."""
    no_peft_model: bool = False
    """Leave it to the trainer to make the adapters; else the plugin makes them, and hands on no `peft_config`."""

    @model_validator(mode="after")
    def _check_bits(self) -> BitsAndBytesSettings:
        given = self.model_fields_set & {"bnb_4bit_use_double_quant", "bnb_4bit_compute_dtype"}
        if self.quant_type == "int8" and given:
            raise ValueError(f"{min(given)} is for 4-bit weights, and quant_type is int8")
        return self


class BitsAndBytesPlugin(AccelerationPlugin):
    """Quantize the weights as they are read; each process keeps its copy on its own device."""

    configuration_and_paths = (PATH,)
    require_packages = ("bitsandbytes",)
    settings = BitsAndBytesSettings
    conflicts = ("peft.quantization.auto_gptq",)

    @property
    def requires_custom_loading(self) -> bool:
        """Tell that the weights are quantized as they are read."""
        return True

    @property
    def requires_augmentation(self) -> bool:
        """Tell whether the plugin makes the adapters."""
        return not self.chosen_settings().no_peft_model

    def model_loader(self, model_name: str, **kwargs: Any) -> PreTrainedModel:
        """Load the model in 4 or 8 bits.

        Raises:
            UserError: `kwargs` asks for quantized weights, too.
        """
        from transformers import AutoModelForCausalLM

        refuse_second_quantization(PATH, kwargs)
        options = {**_placement(), **kwargs, "quantization_config": self._quantization(kwargs.get("dtype"))}
        model = AutoModelForCausalLM.from_pretrained(model_name, **options)
        keep_gradients(model)
        return model

    def augmentation(
        self, model: PreTrainedModel, train_args: TrainingArguments, modifiable_args: tuple[Any, ...] = (None,)
    ) -> tuple[Any, tuple[Any, ...]]:
        """Make the adapters, and return None for the `peft_config`.

        Raises:
            UserError: there is no `peft_config`.
        """
        peft_config, *others = modifiable_args
        return with_adapters(model, train_args, peft_config, PATH), (None, *others)

    def _quantization(self, dtype: Any) -> BitsAndBytesConfig:
        from transformers import BitsAndBytesConfig

        chosen = self.chosen_settings()
        if chosen.quant_type == "int8":
            return BitsAndBytesConfig(load_in_8bit=True)
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type=chosen.quant_type,
            bnb_4bit_use_double_quant=chosen.bnb_4bit_use_double_quant,
            bnb_4bit_compute_dtype=chosen.bnb_4bit_compute_dtype or (None if dtype == "auto" else dtype),
        )


def _placement() -> dict[str, Any]:
    """Put each process's copy on its own device: transformers would put every copy on the first GPU."""
    import torch

    on_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true")
    if on_cpu or not torch.cuda.is_available():
        return {"device_map": {"": "cpu"}}
    return {"device_map": {"": int(os.environ.get("LOCAL_RANK", "0"))}}
