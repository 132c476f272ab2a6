"""Formats made of the graph of a model, from token ids and attention mask to logits, of any batch and length."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.errors import Problem, UserError
from tuning.export.exporter import QUANTIZE, Exporter, Options
from tuning.export.loaded import Loaded
from tuning.export.source import Source
from tuning.export.weights import num_weights

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

INPUTS, OUTPUT = ("input_ids", "attention_mask"), "logits"


class TracedExporter(Exporter):
    """The base of formats that hold what torch traces: a graph in 32 bits, which every machine can compute."""

    def problems(self, source: Source, options: Options) -> Iterator[Problem]:
        """Refuse a type other than the graph's."""
        if options.quantize is not None:
            told = f"the format {self.extra} is in 32 bits; gguf quantizes"
            yield Problem(QUANTIZE, told, options.quantize, "the export")

    def needed_bytes(self, source: Source, options: Options) -> float:
        """Tell that each weight takes 4 bytes, whatever it took before."""
        return 4 * num_weights(source)

    def weights_dtype(self, loaded: Loaded, options: Options) -> str:
        """Tell that it is always 32 bits."""
        return "float32"

    def write(self, loaded: Loaded, folder: Path, options: Options) -> None:
        """Merge, trace the model with symbols for batch and length, and write graph, configuration and tokenizer."""
        model = loaded.merged().float()
        model.config.save_pretrained(folder)
        loaded.tokenizer.save_pretrained(folder)
        self.write_graph(trace(model), folder)

    @abstractmethod
    def write_graph(self, program: ExportedProgram, folder: Path) -> None:
        """Write the graph with its weights.

        Raises:
            UserError: the format has no words for it.
        """


def trace(model: Any) -> ExportedProgram:
    """Record what a model computes, with symbols for batch and length.

    Raises:
        UserError: torch cannot trace the model.
    """
    import torch

    class Graph(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            return self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits

    sizes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    ids = torch.arange(10).reshape(2, 5) % model.config.vocab_size
    mask = torch.tensor([[1] * 5, [1] * 4 + [0]])
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            return torch.export.export(Graph().eval(), (ids, mask), dynamic_shapes=(sizes, sizes), strict=False)
    except Exception as error:  # the tracer raises what it likes
        raise UserError(f"torch cannot trace this model: {type(error).__name__}: {error}") from error
