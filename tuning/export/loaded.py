"""The model that is exported, in memory: loaded unquantized, and merged with its adapter where a format wants that."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tuning.config.schema import TuningConfig
from tuning.errors import UserError
from tuning.export.source import Source, values_of_run
from tuning.export.weights import stored_dtype
from tuning.saved_model import load_with_adapter, quantizing_sections
from tuning.tokenizer import Additions

logger = logging.getLogger(__name__)

_ACTS_ON_ALL = (
    "aLoRA: merged weights act on every token, so the export says what the adapter says only where a text begins with "
    "the invocation; --to adapter keeps the two apart"
)


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


def load_model_of(source: Source, tokenizer: Any, dtype: str, sections: Mapping[str, Any] | None = None) -> Any:
    """Load the base, and the adapter on it, ready to answer; `sections` may quantize the base."""
    model = {**source.saved.settings(), **source.loading, "dtype": dtype}
    config = TuningConfig.model_validate({"model": model, **(sections or {})})
    return load_with_adapter(config, source.saved.adapter, tokenizer, Additions()).eval()


def load_plain_tokenizer(source: Source) -> Any:
    """Load the tokenizer with nothing added to it.

    Raises:
        UserError: there is none.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(source.saved.tokenizer, **source.loading)
    except (OSError, ValueError) as error:
        raise UserError(f"no tokenizer can be loaded from '{source.saved.tokenizer}': {error}") from error


def quantization_of_run(source: Source) -> dict[str, Any]:
    """Read how the run quantized the base while it trained, as sections of a configuration; empty: not at all."""
    return quantizing_sections(values_of_run(source.run_folder))
