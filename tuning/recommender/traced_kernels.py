"""Stand in, while a step is traced, for what depends on the device or on the contents of tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from tuning.recommender.memory import Step

if TYPE_CHECKING:
    import torch


@contextmanager
def kernels_for(step: Step) -> Iterator[None]:
    """Make a CPU's fake tensors go where the tensors of the step's device would; not for several threads at once."""
    from transformers import masking_utils

    with ExitStack() as stack:
        if not step.has_mask:  # the trace cannot see that rows without padding need no mask
            stack.enter_context(_replaced(masking_utils, "find_packed_sequence_indices", lambda *_, **__: None))
        if step.head != "tiles_on_cpu":
            _enter_gpu(stack)
        yield


def _enter_gpu(stack: ExitStack) -> None:
    """Attend with the kernels of a GPU, and compute TRL's loss within its tile, as Triton does."""
    import torch
    from trl.kernels import chunked_logprob

    stack.enter_context(_replaced(torch.nn.functional, "scaled_dot_product_attention", _attend_on_gpu))
    for name in ("_forward_tile", "_backward_tile", "_addmm_fp32"):
        stack.enter_context(_replaced(chunked_logprob, name, lambda *_, **__: None))


def _attend_on_gpu(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """Attend with the flash kernel, or where there is a mask with the memory-efficient one, which takes a bias."""
    import torch

    if attn_mask is None:
        return torch.ops.aten._scaled_dot_product_flash_attention(query, key, value, dropout_p, is_causal, scale=scale)[
            0
        ]
    bias = torch.where(attn_mask, 0.0, -torch.inf).to(query.dtype).expand(-1, query.shape[1], -1, -1)
    return torch.ops.aten._scaled_dot_product_efficient_attention(
        query, key, value, bias, True, dropout_p, is_causal, scale=scale
    )[0]


@contextmanager
def _replaced(owner: Any, name: str, stand_in: Any) -> Iterator[None]:
    kept = getattr(owner, name)
    setattr(owner, name, stand_in)
    try:
        yield
    finally:
        setattr(owner, name, kept)
