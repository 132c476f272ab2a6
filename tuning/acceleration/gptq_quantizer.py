"""Tell transformers how a GPTQ checkpoint is read with torch alone; it loads the weights as it does any other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from safetensors import safe_open
from torch import nn
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from tuning.acceleration.gptq_linear import GPTQLinear
from tuning.errors import UserError

METHOD = "gptq_torch"
"""The name under which transformers knows this way to read GPTQ; its own, `gptq`, needs packages."""


@register_quantization_config(METHOD)
class GPTQTorchConfig(QuantizationConfigMixin):
    """What `quantization_config` of a GPTQ checkpoint says, as far as its layers need it."""

    def __init__(self, bits: int = 4, group_size: int = 128, checkpoint_format: str = "gptq", **described: Any) -> None:
        """Take the fields of config.json; `described` is what only tells how the checkpoint was made."""
        self.quant_method = METHOD  # pyright: ignore[reportAttributeAccessIssue]
        self.bits, self.group_size, self.checkpoint_format = bits, group_size, checkpoint_format


@register_quantizer(METHOD)
class GPTQTorchQuantizer(HfQuantizer):
    """Put a packed layer in the place of each linear layer whose weight is packed in the checkpoint."""

    def _process_model_before_weight_loading(self, model: Any, **kwargs: Any) -> None:
        packed = packed_layers(kwargs.get("checkpoint_files") or ())
        modules = dict(model.named_modules())
        for name in packed:
            _replace(modules, name, self.quantization_config)

    def _process_model_after_weight_loading(self, model: Any, **kwargs: Any) -> Any:
        # PEFT refuses to merge adapters into a model by this name.
        model.quantization_method = "gptq"
        return model

    def is_serializable(self) -> bool:
        """Tell that the packed tensors are saved as they were read."""
        return True

    @property
    def is_trainable(self) -> bool:
        """Tell that adapters can be trained on it."""
        return True


def packed_layers(files: Iterable[str]) -> list[str]:
    """List the layers whose weights are packed in safetensors files."""
    names: list[str] = []
    for file in files:
        with safe_open(file, framework="pt") as opened:
            names += opened.keys()
    return [name.removesuffix(".qweight") for name in names if name.endswith(".qweight")]


def _replace(modules: dict[str, nn.Module], name: str, config: Any) -> None:
    found = modules.get(name)
    if not isinstance(found, nn.Linear):
        raise UserError(f"peft.quantization.auto_gptq: the checkpoint packs {name}, which is no linear layer here")
    parent, _, attribute = name.rpartition(".")
    group_size = found.in_features if config.group_size == -1 else config.group_size
    zero_offset = 0 if config.checkpoint_format == "gptq_v2" else 1
    sizes = (found.in_features, found.out_features, found.bias is not None)
    setattr(modules[parent], attribute, GPTQLinear(*sizes, config.bits, group_size, zero_offset))
