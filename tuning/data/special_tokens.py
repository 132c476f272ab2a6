"""Which token pads: one that is never a target, so never the end token."""

from __future__ import annotations

import re
from collections.abc import Mapping

PAD_NAMES = ("<pad>", "[PAD]", "<PAD>", "<|pad|>", "<|finetune_right_pad_id|>", "<|endofpad|>")
"""Names that tokenizers give to a pad token which their configuration forgot to declare."""
_RESERVED = re.compile(
    r"<\|reserved_special_token_\d+\|>|<\|reserved_\d+\|>|<reserved_?\d+>|<unused_?\d+>|\[unused\d+\]"
    r"|<\|unused_?\d+\|>|<\|extra_\d+\|>|<extra_id_\d+>|<SPECIAL_\d+>|<\|dummy_\d+\|>"
)
"""Tokens that a vocabulary keeps free for uses such as this one."""


def choose_pad_token(token_ids: Mapping[str, int], eos_token: str | None, unk_token: str | None) -> str:
    """Choose a token of the vocabulary: one with a pad token's name, a reserved one, the unknown token; else a new one.

    Masks and labels go by length, so that a token that pads may stand in a text too; as a target it would be the end
    token that a model never learns to write.
    """
    named = [name for name in PAD_NAMES if name in token_ids]
    reserved = sorted((token for token in token_ids if _RESERVED.fullmatch(token)), key=lambda token: token_ids[token])
    unknown = [unk_token] if unk_token is not None else []
    return next((token for token in (*named, *reserved[:1], *unknown) if token != eos_token), PAD_NAMES[0])
