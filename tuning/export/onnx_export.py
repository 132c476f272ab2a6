"""An ONNX graph from token ids and attention mask to logits, of any batch and length."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.errors import UserError
from tuning.export.source import Source
from tuning.export.traced import INPUTS, OUTPUT, TracedExporter

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

    from tuning.export.exporter import Logits

ONNX_FILE = "model.onnx"
_OPSET = 18
"""Source: the newest that every release of onnxruntime in the range of the extra runs."""


class OnnxExporter(TracedExporter):
    """A graph made by torch's exporter and checked with onnxruntime, with the tokenizer beside it."""

    packages, extra = ("onnx", "onnxruntime", "onnxscript"), "onnx"

    def write_graph(self, program: ExportedProgram, folder: Path) -> None:
        """Write the graph with torch's exporter.

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
                    str(folder / ONNX_FILE),
                    input_names=list(INPUTS),
                    output_names=[OUTPUT],
                    opset_version=_OPSET,
                    dynamo=True,
                    external_data=True,
                )
        except Exception as error:  # the exporter raises what it likes
            raise UserError(f"onnx: torch cannot write this model: {type(error).__name__}: {error}") from error

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
