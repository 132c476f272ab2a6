"""What a model is like, from its `config.json` and the headers of its weights; no weight is loaded."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuning.config.ir import IR
from tuning.recommender.architecture import Architecture, read_architecture
from tuning.recommender.model_files import load_json, model_file
from tuning.recommender.shape import MOST_PARAMETERS, Shape, first_size, most_positions, read_shape

_MOST_HEADER_BYTES = 100_000_000
"""Limit that the safetensors format itself sets."""
FP8_METHODS = ("fp8", "fbgemm_fp8", "mxfp8")
_BITS_OF_METHODS = {**dict.fromkeys(FP8_METHODS, 8), "mxfp4": 4}
"""Bits of a weight in the formats whose configuration does not give them.

Source: transformers 5.23, FineGrainedFP8Config, FbgemmFp8Config and Mxfp4Config.
"""


@dataclass(frozen=True)
class ModelFacts:
    """A causal language model, as far as its files tell.

    `num_parameters` is counted in the headers of the weights where `num_parameters_is_exact`, else computed from the
    shape. `dtype` is the one that the weights were saved in. `router_aux_loss_coef` is what the model's own
    configuration gives the balance of its router, `architecture` what the installed transformers says of its type.
    `quantization_bits` leaves scales out: a weight in mxfp4 has 4, and takes 4.25 with its share of them.
    """

    model_type: str | None = None
    num_parameters: int | None = None
    num_parameters_is_exact: bool = False
    shape: Shape | None = None
    max_position_embeddings: int | None = None
    dtype: str | None = None
    quantization_method: str | None = None
    quantization_bits: int | None = None
    has_weights: bool = False
    router_aux_loss_coef: float | None = None
    architecture: Architecture = field(default_factory=Architecture)


def probe_model(ir: IR) -> ModelFacts | None:
    """Read the facts of the document's model; None where its `config.json` cannot be found."""
    file = model_file(ir, "config.json")
    config = load_json(file)
    return None if file is None or config is None else read_model(config, file.parent)


def read_model(config: Mapping[str, Any], folder: Path) -> ModelFacts:
    """Read the facts of a model from its configuration and from the headers of the weights in its folder, if any."""
    inner = config.get("text_config")
    text = {**config, **inner} if isinstance(inner, dict) else config
    quantization = config.get("quantization_config")
    method = str(quantization.get("quant_method", "unknown")) if isinstance(quantization, dict) else None
    shape = read_shape(text)
    counted = None if method else _count_in_headers(folder)
    coefficient = text.get("router_aux_loss_coef")
    return ModelFacts(
        model_type=model_type if isinstance(model_type := text.get("model_type"), str) else None,
        num_parameters=counted if counted is not None or shape is None else shape.num_parameters(),
        num_parameters_is_exact=counted is not None,
        shape=shape,
        max_position_embeddings=most_positions(text),
        dtype=text.get("dtype") or text.get("torch_dtype"),
        quantization_method=method,
        quantization_bits=_bits(quantization) if isinstance(quantization, dict) else None,
        has_weights=any(folder.glob("*.safetensors")),
        router_aux_loss_coef=float(coefficient) if isinstance(coefficient, (int, float)) else None,
        architecture=read_architecture(text.get("model_type")),
    )


def _bits(quantization: Mapping[str, Any]) -> int | None:
    """Read the bits of a quantized weight: in bitsandbytes' words, in GPTQ's and AWQ's, or by the method's name."""
    for name, bits in (("load_in_4bit", 4), ("load_in_8bit", 8)):
        if quantization.get(name) is True:
            return bits
    given = first_size(quantization, ("bits", "w_bit"))
    return _BITS_OF_METHODS.get(str(quantization.get("quant_method"))) if given is None else given


def _count_in_headers(folder: Path) -> int | None:
    """Count the parameters in the safetensors files of a folder; None where there are none or one cannot be read."""
    files = _weight_files(folder)
    if not files:
        return None
    try:
        count = sum(math.prod(shape) for file in files for shape in _tensor_shapes(file))
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError, struct.error):
        return None
    return count if 0 < count <= MOST_PARAMETERS else None


def _weight_files(folder: Path) -> list[Path]:
    index = load_json(folder / "model.safetensors.index.json") or {}
    if isinstance(names := index.get("weight_map"), dict):
        return [folder / str(name) for name in sorted(set(map(str, names.values())))]
    single = folder / "model.safetensors"
    return [single] if single.is_file() else []


def _tensor_shapes(file: Path) -> Iterator[list[int]]:
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if length > _MOST_HEADER_BYTES:
            raise ValueError(f"{file}: the header is too long")
        header = json.loads(stream.read(length))
    for name, tensor in header.items():
        if name != "__metadata__":
            if not all(isinstance(size, int) and size >= 0 for size in tensor["shape"]):
                raise ValueError(f"{file}: {name} has no shape")
            yield tensor["shape"]
