"""A whole model for transformers, vLLM and all that reads Hugging Face's folders."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.errors import Problem
from tuning.export.exporter import QUANTIZE, Exporter, Options
from tuning.export.loaded import Loaded
from tuning.export.source import Source

if TYPE_CHECKING:
    from torch import Tensor

    from tuning.export.exporter import Logits

_SIZE = re.compile(r"^(?=.*[1-9])\d+(\.\d+)? ?[KMGT]B$", re.IGNORECASE)
"""What huggingface_hub can read, and is not 0."""


class TorchExporter(Exporter):
    """Safetensors in the base's type, with configuration, generation configuration, tokenizer and chat template."""

    def problems(self, source: Source, options: Options) -> Iterator[Problem]:
        """Refuse a type, which the weights keep, and sizes that are none."""
        if options.quantize is not None:
            told = "weights of the format torch keep the type of the base; gguf quantizes"
            yield Problem(QUANTIZE, told, options.quantize, "the export")
        if not _SIZE.match(options.max_shard_size):
            told = "expected a size such as 5GB or 500MB"
            yield Problem("export.export_max_shard_size", told, options.max_shard_size, "the export")

    def write(self, loaded: Loaded, folder: Path, options: Options) -> None:
        """Merge, and write the weights in the type that they had on disk."""
        model = loaded.merged()
        model.save_pretrained(folder, max_shard_size=options.max_shard_size)
        loaded.tokenizer.save_pretrained(folder)

    def read(self, source: Source, folder: Path, dtype: str) -> Logits:
        """Load it with transformers, from safetensors alone."""
        from transformers import AutoModelForCausalLM

        trusted = source.loading.get("trust_remote_code", False)
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, trust_remote_code=trusted
        )
        return torch_logits(model)


def torch_logits(model: Any) -> Logits:
    """Return a function that computes the logits of a model in torch, in 32 bits."""
    import torch

    from tuning.export.float32 import computing_in_float32

    model.eval()

    def logits(ids: Tensor, mask: Tensor) -> Tensor:
        with torch.no_grad(), computing_in_float32(model):
            return model(input_ids=ids, attention_mask=mask, use_cache=False).logits.float()

    return logits


def unmergeable(source: Source) -> Iterator[Problem]:
    """Name what keeps an adapter from being merged into the weights of its base."""
    found: dict[str, Any] = source.adapter_config or {}
    kind, path = found.get("peft_type"), "peft.peft_method"
    told = None
    if kind in ("PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "MULTITASK_PROMPT_TUNING", "ADAPTION_PROMPT", "CPT"):
        told = f"{kind} adds tokens to each prompt and changes no weights, so it cannot be merged"
    elif found.get("lora_bias"):
        told = "lora_bias has no place in weights without bias"
    elif found.get("layer_replication"):
        told = "layer_replication uses a layer several times, which PEFT does not merge rightly"
    if told is not None:
        yield Problem(path, told)


def quantized_on_disk(source: Source) -> Iterator[Problem]:
    """Name a base whose weights are quantized on disk: the unquantized ones are merged into."""
    method = (source.config.get("quantization_config") or {}).get("quant_method")
    if method is not None:
        told = f"its weights are quantized ({method}), and an export of the whole model starts from unquantized ones"
        hint = "Export the adapter, or after the run name the unquantized base: tune export RUN --base MODEL --to …"
        yield Problem("model.model_name_or_path", told, source.saved.base, "the base", hint)
