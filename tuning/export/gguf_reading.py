"""Read a GGUF file back: with transformers, and what transformers does not read with the package gguf itself."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tuning.errors import UserError
from tuning.export.gguf_architectures import ARCHITECTURES
from tuning.export.gguf_tensors import PERMUTED, unpermuted, weights_of
from tuning.export.loaded import load_plain_tokenizer
from tuning.export.source import Source

logger = logging.getLogger(__name__)

_TEXTS = ("The heron waits beside the river.", "12 + 30 = 42", "  two spaces, then\na line", "Füße, naïveté, 河")


def load_gguf(file: Path, source: Source, dtype: str, vocab_size: int) -> Any:
    """Load a model from a GGUF file, with the configuration that it had before, but for what the file says better."""
    from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig

    config = AutoConfig.from_pretrained(source.saved.base, **source.loading)
    if source.architecture == "MistralForCausalLM":  # a Llama for readers of GGUF, transformers among them
        config = LlamaConfig(**{name: value for name, value in config.to_dict().items() if name != "model_type"})
        config.architectures = ["LlamaForCausalLM"]
    config.vocab_size = vocab_size
    if source.architecture == "GraniteForCausalLM":
        return _load_by_weight(file, config, dtype)
    with _one_map_of_names():
        return AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, config=config, dtype=dtype)


@contextmanager
def _one_map_of_names() -> Iterator[None]:
    """Keep transformers from making gguf's map of names anew for each module of the model.

    Source: a Llama of 35 layers: 463 maps, 13 of 37 s of CPU time to read it.
    """
    import gguf

    own = gguf.get_tensor_name_map
    gguf.get_tensor_name_map = functools.cache(own)
    try:
        yield
    finally:
        gguf.get_tensor_name_map = own


def check_tokens(file: Path, source: Source) -> int:
    """Compare the tokens of a file with the tokenizer's, and warn where transformers would split text differently.

    Returns how many there are.

    Raises:
        UserError: an id stands for another token.
    """
    from gguf import GGUFReader

    tokenizer = load_plain_tokenizer(source)
    tokens = GGUFReader(file).fields["tokenizer.ggml.tokens"].contents()
    for token, number in tokenizer.get_vocab().items():
        if tokens[number] != token:
            raise UserError(f"the id {number} stands for {token!r} in the tokenizer, and for {tokens[number]!r} here")
    _compare_texts(file, tokenizer)
    return len(tokens)


def _compare_texts(file: Path, tokenizer: Any) -> None:
    from transformers import AutoTokenizer

    try:
        read = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    except Exception as error:  # a reader that fails on a tokenizer says nothing of the weights
        logger.warning("gguf: transformers cannot read the tokenizer of this file: %s", error)
        return
    differing = [text for text in _TEXTS if read(text)["input_ids"] != tokenizer(text)["input_ids"]]
    if differing:
        logger.warning("gguf: transformers' own tokenizer for this file makes other tokens of %r", differing[0])


def _load_by_weight(file: Path, config: Any, dtype: str) -> Any:
    """Fill a model with the weights of a file, one after the other."""
    import torch
    from gguf import GGUFReader
    from gguf.quants import dequantize
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    architecture = ARCHITECTURES[str(config.architectures[0])]
    stored = {tensor.name: tensor for tensor in GGUFReader(file).tensors}
    for weight in weights_of(model, architecture, "F32"):
        tensor = stored[weight.name]
        array = dequantize(tensor.data, tensor.tensor_type)
        if weight.source_name.endswith(PERMUTED):
            is_query = "q_proj" in weight.source_name
            array = unpermuted(array, config.num_attention_heads if is_query else config.num_key_value_heads)
        weight.tensor.copy_(torch.from_numpy(array.copy()).reshape(weight.tensor.shape))
    return model
