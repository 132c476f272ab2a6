"""A tokenizer in GGUF's words: tokens with types, merges or scores, and how text is split before."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuning.errors import Problem, UserError

logger = logging.getLogger(__name__)

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""GGUF's types of tokens."""

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SPLITS = {
    "|".join([_CONTRACTIONS, _WORDS, r"\p{N}{1,3}", _REST]): "llama-bpe",
    "|".join([_CONTRACTIONS, _WORDS, r"\p{N}", _REST]): "qwen2",
}
"""Expressions that split text before the merges, as tokenizer.json writes them -> the name that readers know."""


@dataclass(frozen=True)
class Vocabulary:
    """What GGUF says of a tokenizer."""

    model: str
    """gpt2: BPE over bytes; llama: pieces with scores, as SentencePiece has them."""
    tokens: list[str]
    types: list[int]
    pre: str = "default"
    merges: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    adds_space: bool = False


def unsupported_tokenizer(folder: str) -> Iterator[Problem]:
    """Name what is no tokenizer for GGUF, from tokenizer.json alone; nothing where there is no such file."""
    try:
        document = json.loads((Path(folder) / "tokenizer.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if _kind(document) is None:
        kind = (document.get("model") or {}).get("type")
        told = "gguf takes BPE over bytes, and BPE that falls back to bytes, as SentencePiece makes it"
        yield Problem("model.tokenizer_name_or_path", told, kind, "tokenizer.json")


def vocabulary_of(tokenizer: Any, size: int) -> Vocabulary:
    """Describe a tokenizer; `size` is the number of rows of the embeddings, which the tokens have to fill.

    Raises:
        UserError: GGUF has no words for it, or it has ids that the embeddings do not reach.
    """
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise UserError("gguf: the tokenizer has no tokenizer.json")
    document = json.loads(tokenizer.backend_tokenizer.to_str())
    kind = _kind(document)
    if kind is None:
        raise UserError(f"gguf: a tokenizer of type {document['model'].get('type')} cannot be written")
    highest = _highest_id(document)
    if highest >= size:
        raise UserError(f"gguf: the tokenizer has ids up to {highest}, and the model's embeddings end at {size - 1}")
    tokens, types = _tokens(document, size)
    if kind == "gpt2":
        return Vocabulary(kind, tokens, types, _pre_tokenizer(document), _merges(document))
    _mark_pieces(document, tokens, types)
    return Vocabulary(kind, tokens, types, scores=_scores(document, tokens), adds_space=_adds_space(document))


def _highest_id(document: Mapping[str, Any]) -> int:
    """Return the highest id, which is more than the number of tokens where ids between have none."""
    added = (token["id"] for token in document.get("added_tokens") or ())
    return max((*document["model"]["vocab"].values(), *added), default=-1)


def _kind(document: Mapping[str, Any]) -> str | None:
    model = document.get("model") or {}
    if model.get("type") != "BPE":
        return None
    if model.get("byte_fallback"):
        return "llama"
    return "gpt2" if any(step.get("type") == "ByteLevel" for step in _steps(document.get("pre_tokenizer"))) else None


def _steps(part: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """List the steps of a pre-tokenizer or normalizer, which may be one or a sequence."""
    if part is None:
        return []
    return list(part.get("pretokenizers") or part.get("normalizers") or [part])


def _tokens(document: Mapping[str, Any], size: int) -> tuple[list[str], list[int]]:
    """Return a token and its type for each row of the embeddings; rows without one get a name that no text has."""
    tokens, types = [f"[PAD{number}]" for number in range(size)], [UNUSED] * size
    for token, number in document["model"]["vocab"].items():
        tokens[number], types[number] = token, NORMAL
    for added in document.get("added_tokens") or ():
        tokens[added["id"]] = added["content"]
        types[added["id"]] = CONTROL if added.get("special") else USER_DEFINED
    return tokens, types


def _merges(document: Mapping[str, Any]) -> list[str]:
    return [merge if isinstance(merge, str) else " ".join(merge) for merge in document["model"]["merges"]]


def _mark_pieces(document: Mapping[str, Any], tokens: list[str], types: list[int]) -> None:
    """Mark the tokens that stand for single bytes, and the unknown one."""
    unknown = document["model"].get("unk_token")
    for number, token in enumerate(tokens):
        if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            types[number] = BYTE
        elif token == unknown:
            types[number] = UNKNOWN


def _scores(document: Mapping[str, Any], tokens: list[str]) -> list[float]:
    """Give each piece the negated rank of the merge that makes it: of two merges, the earlier one comes first."""
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(document["model"]["merges"]):
        ranks.setdefault("".join(merge.split(" ") if isinstance(merge, str) else merge), rank)
    return [-float(ranks.get(token, len(ranks))) for token in tokens]


def _adds_space(document: Mapping[str, Any]) -> bool:
    steps = [*_steps(document.get("normalizer")), *_steps(document.get("pre_tokenizer"))]
    prepends = any(step.get("type") == "Prepend" for step in steps)
    return prepends or any(
        step.get("type") == "Metaspace" and step.get("prepend_scheme", "always") != "never" for step in steps
    )


def _pre_tokenizer(document: Mapping[str, Any]) -> str:
    """Name the way that text is split before the merges; an unknown one becomes "default", with a warning."""
    steps = _steps(document.get("pre_tokenizer"))
    kinds = [step.get("type") for step in steps]
    if kinds == ["ByteLevel"] and steps[0].get("use_regex", True):
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits") and steps[1].get("use_regex", True):
        return "refact"
    if kinds == ["Split", "ByteLevel"]:
        known = _SPLITS.get(str((steps[0].get("pattern") or {}).get("Regex")))
        if known is not None:
            return known
    logger.warning("gguf: readers know no name for how this tokenizer splits text; they will split it in their own way")
    return "default"
