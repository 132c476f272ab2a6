"""Train adapters on a checkpoint that GPTQ quantized, read with torch alone: no further package, on any device."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from tuning.acceleration.plugin import AccelerationPlugin
from tuning.acceleration.quantized_base import refuse_second_quantization, with_adapters
from tuning.config.section import Section
from tuning.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainingArguments

logger = logging.getLogger(__name__)

PATH = "peft.quantization.auto_gptq"
_FORMATS = ("gptq", "gptq_v2")
_BITS = (4, 8)
_OF_THE_HUB = ("revision", "cache_dir", "trust_remote_code", "token", "local_files_only", "subfolder")


class AutoGPTQSettings(Section):
    """The stanza `peft.quantization.auto_gptq`."""

    kernel: Literal["torch", "triton_v2"] = "torch"
    """What multiplies by packed weights. `triton_v2` is accepted, as files of fms-acceleration have it; torch runs."""
    from_quantized: Literal[True] = True
    """Weights are read as a quantized checkpoint has them; nothing is quantized here."""


class AutoGPTQPlugin(AccelerationPlugin):
    """Keep the weights packed, and unpack each one as it is used."""

    configuration_and_paths = (PATH,)
    settings = AutoGPTQSettings
    conflicts = ("peft.quantization.bitsandbytes",)

    @property
    def requires_custom_loading(self) -> bool:
        """Tell that transformers itself reads such a checkpoint only with further packages."""
        return True

    @property
    def requires_augmentation(self) -> bool:
        """Tell that the plugin makes the adapters."""
        return True

    def check_model_config(self, model_name: str, model_config: Mapping[str, Any]) -> None:
        """Refuse a checkpoint that GPTQ has not quantized, or of a kind that cannot be read here."""
        _described(model_name, model_config.get("quantization_config"))

    def model_loader(self, model_name: str, **kwargs: Any) -> PreTrainedModel:
        """Load a checkpoint whose config.json says how GPTQ quantized it.

        Raises:
            UserError: it is no such checkpoint, or of a kind that cannot be read here.
        """
        from transformers import AutoConfig, AutoModelForCausalLM

        from tuning.acceleration.gptq_quantizer import METHOD

        refuse_second_quantization(PATH, kwargs)
        if self.chosen_settings().kernel == "triton_v2":
            logger.warning("%s: there is no kernel triton_v2 here; torch is used, with equal results", PATH)
        given = {name: kwargs[name] for name in _OF_THE_HUB if kwargs.get(name) is not None}
        config = AutoConfig.from_pretrained(model_name, **given)
        described = _described(model_name, getattr(config, "quantization_config", None))
        config.quantization_config = {**described, "quant_method": METHOD}
        model = AutoModelForCausalLM.from_pretrained(model_name, config=config, **kwargs)
        model.config.quantization_config = described
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


def _described(model_name: str, found: Any) -> dict[str, Any]:
    """Check what config.json says of the quantization.

    Raises:
        UserError: it is not GPTQ, or of a kind that cannot be read here.
    """
    described = dict(found) if isinstance(found, dict) else {}
    if described.get("quant_method") != "gptq":
        kind = described.get("quant_method") or "not quantized"
        raise UserError(f"{PATH}: '{model_name}' is no GPTQ checkpoint ({kind}); leave the stanza out")
    bits, layout = described.get("bits"), described.get("checkpoint_format", "gptq")
    if bits not in _BITS or layout not in _FORMATS or described.get("dynamic"):
        known = f"bits 4 or 8, checkpoint_format {' or '.join(_FORMATS)}, one size for all layers"
        raise UserError(f"{PATH}: '{model_name}' has bits={bits}, checkpoint_format={layout}; read here: {known}")
    return described
