"""Attention within each row of a sequence that holds several, so that nothing is computed between rows.

transformers asks for a mask once per forward and kind of layer. Where positions restart, the answer is the lengths of
the rows instead of a mask of (tokens, tokens), and each layer then attends row by row. In every other case, such as
padded batches and generation, mask and attention are those of `sdpa`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION = "varlen_sdpa"
"""Name of the attention; the word flash in it would make transformers and TRL take it for another."""

MaskFunction = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Rows:
    """The rows of one sequence: their lengths, tokens, and their masks, (length, length) bool; None: causal."""

    lengths: tuple[int, ...]
    masks: tuple[Tensor | None, ...]


def register_varlen_attention() -> str:
    """Make the attention known to transformers; returns its name. Doing so again changes nothing."""
    AttentionInterface.register(ATTENTION, varlen_attention_forward)
    AttentionMaskInterface.register(ATTENTION, varlen_mask)
    return ATTENTION


def varlen_attention_forward(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Rows | Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend within each row; query, key and value: (batch, heads, tokens, head_dim), returns (batch, tokens, ...)."""
    if not isinstance(attention_mask, Rows):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
    parts = (tensor.split(attention_mask.lengths, dim=2) for tensor in (query, key, value))
    outputs = [
        sdpa_attention_forward(module, queries, keys, values, mask, **kwargs)[0]
        for queries, keys, values, mask in zip(*parts, attention_mask.masks, strict=True)
    ]
    return torch.cat(outputs, dim=1), None


def varlen_mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int = 0,
    kv_offset: int = 0,
    mask_function: MaskFunction | None = None,
    attention_mask: Tensor | None = None,
    use_vmap: bool = False,
    device: torch.device | str = "cpu",
    **kwargs: Any,
) -> Rows | Tensor | None:
    """Return the rows that one sequence holds; where there are none, the mask that `sdpa` would be given."""
    whole = batch_size == 1 and q_length == kv_length and not q_offset and not kv_offset
    if whole and mask_function is not None and attention_mask is None and not use_vmap:
        rows = _rows_of(mask_function, q_length, torch.device(device))
        if rows is not None:
            return rows
    given: dict[str, Any] = {} if mask_function is None else {"mask_function": mask_function}
    return sdpa_mask(
        batch_size,
        q_length,
        kv_length,
        q_offset,
        kv_offset,
        attention_mask=attention_mask,
        use_vmap=use_vmap,
        device=device,
        **given,
        **kwargs,
    )


def _rows_of(mask_function: MaskFunction, num_tokens: int, device: torch.device) -> Rows | None:
    """Find where a token does not see the one before it: there a row begins; None: nowhere, or some see ahead."""
    tokens = torch.arange(num_tokens, device=device)
    if _sees(mask_function, tokens[:-1], tokens[1:]).any():
        return None
    starts = (~_sees(mask_function, tokens[1:], tokens[:-1])).nonzero()[:, 0] + 1
    if not len(starts):
        return None
    ends = torch.cat([starts, starts.new_tensor([num_tokens])])
    starts = torch.cat([starts.new_zeros(1), starts])
    is_causal = _sees(mask_function, ends - 1, starts).tolist()
    spans = list(zip(starts.tolist(), ends.tolist(), strict=True))
    masks = [
        None if causal else _sees(mask_function, tokens[start:end, None], tokens[None, start:end])
        for (start, end), causal in zip(spans, is_causal, strict=True)
    ]
    return Rows(tuple(end - start for start, end in spans), tuple(masks))


def _sees(mask_function: MaskFunction, queries: Tensor, keys: Tensor) -> Tensor:
    """Tell of pairs of tokens whether the first may look at the second."""
    zero = queries.new_zeros(())
    seen = mask_function(zero, zero, queries, keys)
    return torch.as_tensor(seen, device=queries.device).expand(torch.broadcast_shapes(queries.shape, keys.shape))
