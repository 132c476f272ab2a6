"""What a format is: what it refuses, how it is written, and how it is read again to be compared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.errors import Problem
from tuning.export.weights import model_bytes

if TYPE_CHECKING:
    from torch import Tensor

    from tuning.export.loaded import Loaded
    from tuning.export.source import Source

    Logits = Callable[[Tensor, Tensor], Tensor]
    """From token ids and attention mask, (batch, length) int64, to logits, (batch, length, vocabulary) float32."""

EXPORT_FILE = "export.json"
FORMATS = "export.export_formats"
QUANTIZE = "export.export_quantize"


@dataclass(frozen=True)
class Options:
    """What may be chosen of an export."""

    quantize: str | None = None
    """Type that the weights are stored in, by the format's own name. None: the model's."""
    max_shard_size: str = "5GB"
    """Largest file of weights, as Hugging Face writes sizes; only for the format torch."""

    def folder_name(self, name: str) -> str:
        """Name the folder of an export in this format."""
        return name if self.quantize is None else f"{name}-{self.quantize}"


@dataclass(frozen=True)
class Bound:
    """How far the logits of an export may be from the model's, and whether its choices must be the same.

    `max_difference` is absolute, `relative` in standard deviations of the model's logits; the larger one counts.
    """

    max_difference: float = 0.0
    relative: float = 0.0
    top_1: float = 0.0
    """Least share of positions whose most likely token is the model's."""
    greedy: bool = False
    """Whether the greedy text has to be the model's."""


EXACT = Bound(max_difference=1e-4, relative=1e-5, top_1=1.0, greedy=True)
"""Of 32-bit weights: rounding in another order, and nothing else."""
HALF = Bound(max_difference=1e-4, relative=0.15, top_1=0.9)
"""Of 16-bit weights. Source: benchmarks/export.py: at most 0.04 in bfloat16 over nine architectures of two layers."""


class Exporter(ABC):
    """The base of all formats: it takes every model and no quantization."""

    packages: tuple[str, ...] = ()
    """The packages that write or read the format, as they are imported, where they come with an extra."""
    extra: str | None = None
    quantization_types: tuple[str, ...] = ()
    merges_adapters: bool = True

    def problems(self, source: Source, options: Options) -> Iterator[Problem]:
        """Name what cannot be exported, from the names and the JSON files of the model alone."""
        return iter(())

    def needed_bytes(self, source: Source, options: Options) -> float:
        """Tell how large the export will be on the disk, bytes; 0 where that is not known."""
        return model_bytes(source)

    @abstractmethod
    def write(self, loaded: Loaded, folder: Path, options: Options) -> None:
        """Write the format into an empty folder. The model may be changed: nobody needs it afterwards."""

    @abstractmethod
    def read(self, source: Source, folder: Path, dtype: str) -> Logits:
        """Load what was written with the format's own library; `dtype` is that of the model's weights."""

    def weights_dtype(self, loaded: Loaded, options: Options) -> str:
        """Tell the type of the weights that are written."""
        return loaded.stored_dtype

    def bound(self, dtype: str) -> Bound:
        """Tell how far logits of weights of this type may be from the model's."""
        return EXACT if dtype == "float32" else HALF

    def facts(self, folder: Path) -> dict[str, Any]:
        """Tell more for export.json."""
        return {}
