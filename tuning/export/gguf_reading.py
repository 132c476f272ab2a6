"""Read a GGUF file back: with transformers, and what transformers does not read with the package gguf itself."""

from __future__ import annotations

import functools
import gc
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tuning.errors import UserError
from tuning.export.gguf_architectures import ARCHITECTURES
from tuning.export.gguf_tensors import PERMUTED, unpermuted, weights_of
from tuning.export.loaded import load_plain_tokenizer
from tuning.export.source import Source

logger = logging.getLogger(__name__)

_TEXTS = ("The heron waits beside the river.", "12 + 30 = 42", "  two spaces, then\na line", "Füße, naïveté, 河")


def load_gguf(file: Path, source: Source, dtype: str) -> Any:
    """Load a model from a GGUF file whose tokens are those of the model's tokenizer.

    Raises:
        UserError: an id stands for another token.
    """
    with reading_fast():
        vocab_size = _check_tokens(file, source)
        return _load(file, source, dtype, vocab_size)


@contextmanager
def reading_fast() -> Iterator[None]:
    """Read each file once, with a faster reader, and give transformers one map of names, not one for each module.

    A file has to be named by text, as transformers does. Nothing looks for garbage among the objects that a vocabulary
    becomes. Source: a Llama of 35 layers: 463 maps, 13 of 37 CPU s; looking for garbage, 1 of 27.
    """
    import gguf

    own, was_collecting = (gguf.GGUFReader, gguf.get_tensor_name_map), gc.isenabled()
    gguf.GGUFReader, gguf.get_tensor_name_map = functools.cache(_reader_class()), functools.cache(own[1])
    gc.disable()
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map = own
        if was_collecting:
            gc.enable()


def _reader_class() -> type[Any]:
    """Make gguf's reader, but for its slices, two for each token of a vocabulary: they are plain arrays.

    Source: 32,000 tokens: 2.2 s of CPU time as slices of a memory map, which are objects with a dictionary each.
    """
    from gguf import GGUFReader

    class Reader(GGUFReader):
        @property
        def data(self) -> np.ndarray[Any, Any]:
            return self._data

        @data.setter
        def data(self, mapped: np.ndarray[Any, Any]) -> None:
            self._data = mapped.view(np.ndarray)

    return Reader


def _check_tokens(file: Path, source: Source) -> int:
    """Compare the tokens of a file with the tokenizer's, and warn where transformers would split text differently.

    Returns how many there are.

    Raises:
        UserError: an id stands for another token.
    """
    from gguf import GGUFReader

    tokenizer = load_plain_tokenizer(source)
    tokens = GGUFReader(str(file)).fields["tokenizer.ggml.tokens"].contents()
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


def _load(file: Path, source: Source, dtype: str, vocab_size: int) -> Any:
    """Load the model with the configuration that it had before, but for what the file says better."""
    from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig

    config = AutoConfig.from_pretrained(source.saved.base, **source.loading)
    if source.architecture == "MistralForCausalLM":  # a Llama for readers of GGUF, transformers among them
        config = LlamaConfig(**{name: value for name, value in config.to_dict().items() if name != "model_type"})
        config.architectures = ["LlamaForCausalLM"]
    config.vocab_size = vocab_size
    if source.architecture == "GraniteForCausalLM":
        return _load_by_weight(file, config, dtype)
    return AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, config=config, dtype=dtype)


def _load_by_weight(file: Path, config: Any, dtype: str) -> Any:
    """Fill a model with the weights of a file, one after the other."""
    import torch
    from gguf import GGUFReader
    from gguf.quants import dequantize
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    architecture = ARCHITECTURES[str(config.architectures[0])]
    stored = {tensor.name: tensor for tensor in GGUFReader(str(file)).tensors}
    for weight in weights_of(model, architecture, "F32"):
        tensor = stored[weight.name]
        array = dequantize(tensor.data, tensor.tensor_type)
        if weight.source_name.endswith(PERMUTED):
            is_query = "q_proj" in weight.source_name
            array = unpermuted(array, config.num_attention_heads if is_query else config.num_key_value_heads)
        weight.tensor.copy_(torch.from_numpy(array.copy()).reshape(weight.tensor.shape))
    return model
