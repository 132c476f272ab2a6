"""An ONNX graph from token ids and attention mask to logits, of any batch and length."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.errors import Problem, UserError
from tuning.export.exporter import QUANTIZE, Exporter, Options
from tuning.export.loaded import Loaded
from tuning.export.source import Source
from tuning.export.traced import INPUTS, OUTPUT, trace
from tuning.export.weights import num_weights

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

    from tuning.export.exporter import Logits

ONNX_FILE = "model.onnx"
_OPSET = 18
"""Source: the newest that every release of onnxruntime in the range of the extra runs."""


class OnnxExporter(Exporter):
    """A graph in 32 bits, made by torch's exporter and checked with onnxruntime, with the tokenizer beside it."""

    packages, extra = ("onnx", "onnxruntime", "onnxscript"), "onnx"

    def problems(self, source: Source, options: Options) -> Iterator[Problem]:
        """Refuse a type: the graph computes in 32 bits, which every machine can."""
        if options.quantize is not None:
            yield Problem(QUANTIZE, "the format onnx is in 32 bits; gguf quantizes", options.quantize, "the export")

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
        _write_graph(trace(model), folder / ONNX_FILE)

    def read(self, source: Source, folder: Path, dtype: str) -> Logits:
        """Open it with onnxruntime, on the CPU."""
        import onnxruntime
        import torch

        session = onnxruntime.InferenceSession(str(folder / ONNX_FILE), providers=["CPUExecutionProvider"])

        def logits(ids: Tensor, mask: Tensor) -> Tensor:
            found = session.run([OUTPUT], dict(zip(INPUTS, (ids.numpy(), mask.numpy()), strict=True)))
            return torch.from_numpy(found[0])

        return logits

    def facts(self, folder: Path) -> dict[str, Any]:
        """Tell the names of the graph's ends."""
        return {"file": ONNX_FILE, "inputs": list(INPUTS), "outputs": [OUTPUT], "opset": _OPSET}


def _write_graph(program: ExportedProgram, file: Path) -> None:
    """Write the graph.

    Raises:
        UserError: torch has no words of ONNX for it.
    """
    import torch

    try:
        with warnings.catch_warnings(), torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            torch.onnx.export(
                program,
                (),
                str(file),
                input_names=list(INPUTS),
                output_names=[OUTPUT],
                opset_version=_OPSET,
                dynamo=True,
                external_data=True,
            )
    except Exception as error:  # the exporter raises what it likes
        raise UserError(f"onnx: torch cannot write this model: {type(error).__name__}: {error}") from error
