"""One GGUF file, for llama.cpp and what is built on it."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tuning.errors import Problem
from tuning.export.exporter import Bound, Exporter, Options
from tuning.export.gguf_architectures import ARCHITECTURES, Architecture, rope_of, unsupported
from tuning.export.gguf_metadata import add_model, add_tokenizer, head_dim
from tuning.export.gguf_tensors import Weight, llama3_factors, stored, stored_shape, weights_of
from tuning.export.gguf_tokenizer import unsupported_tokenizer, vocabulary_of
from tuning.export.loaded import Loaded
from tuning.export.source import Source
from tuning.export.weights import model_bytes, num_weights

if TYPE_CHECKING:
    from tuning.export.exporter import Logits

GGUF_FILE = "model.gguf"
_NAMES = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}
_ROPE_FREQS = "rope_freqs.weight"

_BOUNDS = {
    "f16": Bound(max_difference=1e-3, relative=0.02, top_1=0.9),
    "bf16": Bound(relative=0.15, top_1=0.8),
    "q8_0": Bound(relative=0.4, top_1=0.8),
    "q5_1": Bound(relative=3.0, top_1=0.5),
    "q5_0": Bound(relative=3.0, top_1=0.5),
    "q4_1": Bound(relative=5.0, top_1=0.25),
    "q4_0": Bound(relative=5.0, top_1=0.25),
}
"""Source: benchmarks/export.py over nine tiny random models, which suffer most: differences of at most half the bound,
and the same token at 92 % (f16), 91 % (bf16) and 88 % (q8_0) or more. Where two tokens are nearly tied, a tiny model
meets them again at each step of what it generates."""


class GgufExporter(Exporter):
    """A file with shape, weights, tokenizer and chat template; the weights go through memory one at a time."""

    packages, extra = ("gguf",), "gguf"
    quantization_types = ("f32", *_BOUNDS)

    def __init__(self) -> None:
        self.kinds: dict[str, int] = {}

    def problems(self, source: Source, options: Options) -> Iterator[Problem]:
        """Refuse architectures and tokenizers that GGUF has no words for."""
        yield from unsupported(source.architecture, source.config)
        yield from unsupported_tokenizer(source.saved.tokenizer)

    def needed_bytes(self, source: Source, options: Options) -> float:
        """Tell how large the weights are in their new type, bytes."""
        if options.quantize is None:
            return model_bytes(source)
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        block, size = GGML_QUANT_SIZES[GGMLQuantizationType[options.quantize.upper()]]
        return num_weights(source) * size / block

    def weights_dtype(self, loaded: Loaded, options: Options) -> str:
        """Tell the type of the weights with two dimensions."""
        return options.quantize or _NAMES[loaded.stored_dtype]

    def bound(self, dtype: str) -> Bound:
        """Tell how far logits of weights of this type may be from the model's."""
        return _BOUNDS.get(dtype) or super().bound("float32")

    def write(self, loaded: Loaded, folder: Path, options: Options) -> None:
        """Merge, and write the file: first all that is said of the weights, then one after the other."""
        from gguf import GGUFWriter

        model = loaded.merged()
        architecture = ARCHITECTURES[loaded.source.architecture]
        kind = self.weights_dtype(loaded, options).upper()
        writer = GGUFWriter(folder / GGUF_FILE, architecture.name)
        try:
            add_model(writer, architecture, model.config, loaded.source.name, kind)
            vocabulary = vocabulary_of(loaded.tokenizer, model.config.vocab_size)
            add_tokenizer(writer, loaded.tokenizer, vocabulary)
            weights = weights_of(model, architecture, kind)
            self.kinds = dict(collections.Counter(weight.kind for weight in weights))
            _write_weights(writer, weights, architecture, model.config)
        finally:
            writer.close()

    def read(self, source: Source, folder: Path, dtype: str) -> Logits:
        """Load it with transformers; Granite, which transformers does not read from GGUF, weight by weight."""
        from tuning.export.gguf_reading import load_gguf
        from tuning.export.torch_export import torch_logits

        if dtype != "float32":  # values of other types fit into float16 best
            dtype = "bfloat16" if "BF16" in self.kinds else "float16"
        return torch_logits(load_gguf(folder / GGUF_FILE, source, dtype))

    def facts(self, folder: Path) -> dict[str, Any]:
        """Tell how many weights have each type."""
        return {"file": GGUF_FILE, "weights": self.kinds}


def _write_weights(writer: Any, weights: list[Weight], architecture: Architecture, config: Any) -> None:
    from gguf import GGMLQuantizationType

    factors = _rope_factors(config)
    if factors is not None:
        writer.add_tensor_info(_ROPE_FREQS, factors.shape, factors.dtype, factors.nbytes)
    for weight in weights:
        shape, dtype = stored_shape(weight, architecture)
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        writer.add_tensor_info(weight.name, shape, np.dtype(dtype), size, GGMLQuantizationType[weight.kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    if factors is not None:
        writer.write_tensor_data(factors)
    for weight in weights:
        writer.write_tensor_data(stored(weight, architecture, config))


def _rope_factors(config: Any) -> np.ndarray[Any, Any] | None:
    document = config.to_dict()
    return llama3_factors(document, head_dim(config)) if rope_of(document)["rope_type"] == "llama3" else None
