"""Quantized weights under LoRA: check what they need, describe them to transformers, and keep their gradients whole."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.config.rules import quantizes
from tuning.config.schema import TuningConfig
from tuning.config.sections import ADAPTER_METHODS
from tuning.errors import MissingExtraError, Problem

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PACKAGE, _EXTRA = "bitsandbytes", "quantization"
_OPTIMIZERS = ("8bit", "32bit", "bnb", "paged", "lion", "ademamix")
"""Parts of the names of bitsandbytes' optimizers. Source: transformers 5.23, OptimizerNames."""
_CAST_WARNINGS = "bitsandbytes.autograd._functions"
"""The logger that tells of a cast in every 8-bit layer of every step."""


def unusable_quantization(config: TuningConfig) -> Iterator[Problem]:
    """Name what a completed configuration asks of quantized weights and cannot have.

    Raises:
        MissingExtraError: the weights are to be quantized, or are so already, and bitsandbytes is not installed.
    """
    asked, there = quantizes(config), quantized_already(config)
    if asked is not None and there is not None:
        yield Problem(asked, f"the weights are quantized already ({there}), and cannot be once more", True)
    if (asked is not None or there is not None) and config.peft.peft_method not in ADAPTER_METHODS:
        expected = "quantized weights cannot be trained; adapters on them can"
        yield Problem("peft.peft_method", expected, config.peft.peft_method, hint="Set peft_method=lora.")
    if (asked is not None or there == _PACKAGE) and importlib.util.find_spec(_PACKAGE) is None:
        raise MissingExtraError(asked or "a model that bitsandbytes quantized", _PACKAGE, _EXTRA)


def may_need_bitsandbytes(config: TuningConfig) -> bool:
    """Tell whether anything in a completed configuration may come from bitsandbytes: weights, a plugin, an optimizer.

    PEFT imports it wherever it is installed, which takes 2 s of CPU time. Source: `python -m benchmarks.startup`.
    """
    name, training = str(config.model.model_name_or_path), dict(config.training)
    if (
        quantizes(config) is not None
        or not Path(os.path.expanduser(name)).is_dir()
        or quantized_already(config) == _PACKAGE
    ):
        return True
    if config.acceleration.plugins and set(config.acceleration.plugins) != {"training"}:
        return True
    return bool(training["model_init_kwargs"]) or any(part in str(training["optim"]) for part in _OPTIMIZERS)


def quantized_already(config: TuningConfig) -> str | None:
    """Read from a model's folder how its weights are quantized; None where they are not, or there is no folder."""
    document = None if config.model.train_from_scratch else model_config_of(config)
    found = document.get("quantization_config") if document is not None else None
    return str(found.get("quant_method", "unknown")) if isinstance(found, dict) else None


def model_config_of(config: TuningConfig) -> dict[str, Any] | None:
    """Read the `config.json` in a model's folder; None where there is no such folder, or it cannot be read."""
    if config.model.model_name_or_path is None:
        return None
    file = Path(os.path.expanduser(config.model.model_name_or_path)) / "config.json"
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None  # loading the model will say what is wrong with it
    return document if isinstance(document, dict) else None


def hint_for_loading(config: TuningConfig) -> str:
    """Say what reads a checkpoint that transformers alone cannot; empty where nothing is known to."""
    if quantized_already(config) != "gptq":
        return ""
    return ". The plugin peft.quantization.auto_gptq reads GPTQ checkpoints without further packages: add its stanza"


def quantization_options(config: TuningConfig) -> dict[str, Any]:
    """Collect what `from_pretrained` needs to quantize weights as it reads them; nothing where nobody asks for it."""
    if quantizes(config) is None:
        return {}
    from transformers import BitsAndBytesConfig

    chosen = {name: value for name, value in config.quantization.model_dump().items() if value is not None}
    if _is_sharded(config) and config.model.dtype not in (None, "auto"):
        chosen["bnb_4bit_quant_storage"] = config.model.dtype  # FSDP shards only parameters of one type together
    return {"quantization_config": BitsAndBytesConfig(**chosen), **_placement(config)}


def keep_gradients(model: PreTrainedModel) -> None:
    """Keep bitsandbytes from repacking 4-bit weights on a CPU, after which no gradient goes through them any more.

    On CPUs with AVX-512 BF16 it repacks a layer in place at the first forward pass without gradients, such as an
    evaluation's; training then goes on without an error and learns less.

    Source: own measurement with bitsandbytes 0.50: loss 5.259 after a run with evaluations, 5.184 without them.
    """
    if not getattr(model, "is_quantized", False):
        return
    logging.getLogger(_CAST_WARNINGS).setLevel(logging.ERROR)
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010 (a field of bitsandbytes alone)


def keep_adapters_in_float32(model: Any, bf16: bool) -> None:
    """Give adapters on quantized weights back their float32, which TRL takes from them, unless training is in bf16.

    The loss scaling of fp16 has no kernel for gradients in bfloat16, and in float32 the small updates would be lost.

    Source: own runs of 60 steps in float32 at 0.1 M parameters: held-out loss 5.619 with float32, 5.641 with bfloat16.
    """
    import torch

    if bf16 or not getattr(model, "is_quantized", False):
        return
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)


def _placement(config: TuningConfig) -> dict[str, Any]:
    """Put each process's copy on its own device: transformers would put every copy on the first GPU."""
    import torch

    if dict(config.training)["use_cpu"]:
        return {"device_map": {"": "cpu"}}
    return {"device_map": {"": int(os.environ.get("LOCAL_RANK", "0"))}} if torch.cuda.is_available() else {}


def _is_sharded(config: TuningConfig) -> bool:
    asked = dict(config.training)["fsdp"] or config.accelerate.get("distributed_type") == "FSDP"
    return bool(asked) or os.environ.get("ACCELERATE_USE_FSDP", "").lower() in ("1", "true")
