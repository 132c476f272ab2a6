"""The graph of a model, from token ids and attention mask to logits, of any batch and length."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from tuning.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.export import ExportedProgram

INPUTS, OUTPUT = ("input_ids", "attention_mask"), "logits"


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
