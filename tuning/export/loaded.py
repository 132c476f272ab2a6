"""The model that is exported, in memory: loaded unquantized, and merged with its adapter where a format wants that."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuning.config.schema import TuningConfig
from tuning.config.sections import Model, Quantization
from tuning.errors import UserError
from tuning.export.source import CONFIG_FILE, Source, read_json
from tuning.saved_model import load_with_adapter
from tuning.tokenizer import Additions

logger = logging.getLogger(__name__)

_ACTS_ON_ALL = (
    "aLoRA: merged weights act on every token, so the export says what the adapter says only where a text begins with "
    "the invocation; --to adapter keeps the two apart"
)
_SAFETENSORS_TYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


@dataclass
class Loaded:
    """A model with its adapter still apart, its tokenizer, and the type of its weights, on disk and here."""

    source: Source
    model: Any
    tokenizer: Any
    stored_dtype: str

    def merged(self) -> Any:
        """Merge the adapter into the weights, one at a time; returns the model.

        PEFT merges no aLoRA, since merged weights act on all tokens. It is merged as the LoRA that it is after its
        invocation.
        """
        if self.source.invocation_tokens:
            logger.warning(_ACTS_ON_ALL)
            for module in self.model.modules():
                getattr(module, "lora_variant", {}).clear()
        if self.source.adapter_config is not None:
            self.model = self.model.merge_and_unload(safe_merge=False)
        return self.model


def load(source: Source) -> Loaded:
    """Load the model in the type of its weights, unquantized, and the tokenizer as it was saved.

    Raises:
        UserError: one of them cannot be loaded.
    """
    tokenizer = load_plain_tokenizer(source)
    stored = stored_dtype(source)
    return Loaded(source, load_model_of(source, tokenizer, stored), tokenizer, stored)


def load_model_of(source: Source, tokenizer: Any, dtype: str, quantization: Quantization | None = None) -> Any:
    """Load the base, and the adapter on it, ready to answer."""
    section = Model.model_validate({**source.saved.settings(), "dtype": dtype})
    config = TuningConfig(model=section, quantization=quantization or Quantization())
    return load_with_adapter(config, source.saved.adapter, tokenizer, Additions()).eval()


def load_plain_tokenizer(source: Source) -> Any:
    """Load the tokenizer with nothing added to it.

    Raises:
        UserError: there is none.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(source.saved.tokenizer)
    except (OSError, ValueError) as error:
        raise UserError(f"no tokenizer can be loaded from '{source.saved.tokenizer}': {error}") from error


def stored_dtype(source: Source) -> str:
    """Tell the type of the weights on disk: that of the headers, else the one of the configuration."""
    files = weight_files(source)
    if files:
        from safetensors import safe_open

        with safe_open(files[0], framework="np") as weights:
            found = {weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118 (no mapping)
        for name, dtype in _SAFETENSORS_TYPES.items():
            if name in found:
                return dtype
    return str(source.config.get("dtype") or source.config.get("torch_dtype") or "float32")


def weight_files(source: Source) -> list[Path]:
    """List the files of the base's weights, where the base is a folder."""
    return sorted(Path(source.saved.base).glob("*.safetensors")) if Path(source.saved.base).is_dir() else []


def model_bytes(source: Source) -> int:
    """Tell how large the weights are on disk, bytes; 0 where the base is on the Hub."""
    return sum(file.stat().st_size for file in weight_files(source))


def quantization_of_run(source: Source) -> Quantization | None:
    """Read how the run quantized the base while it trained; None: not at all."""
    if source.run_folder is None or not (source.run_folder / CONFIG_FILE).is_file():
        return None
    values = read_json(source.run_folder / CONFIG_FILE).get("values") or {}
    section = values.get("quantization") or {}
    if not (section.get("load_in_4bit") or section.get("load_in_8bit")):
        return None
    return Quantization.model_validate(section)
