"""Compare what llama.cpp computes from a GGUF file with the model in torch, on the prompts of an export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from tuning.export.source import Source

_F32 = 0
"""llama.cpp's number of the type that its cache shall have; it would take 16 bits."""


def compared_with_llama_cpp(source: Source, file: Path) -> tuple[float, float]:
    """Return the largest difference of two logits, and the share of positions with the same most likely token.

    Raises:
        ValueError: llama.cpp does not read the file.
    """
    import torch

    from tuning.export.comparison import answers_of
    from tuning.export.loaded import load
    from tuning.export.prompts import prompts_for

    loaded = load(source)
    prompts = prompts_for(source, loaded.tokenizer, loaded.model.get_input_embeddings().weight.shape[0])
    reader, differences, same = _reader(file), [], []
    for answers in answers_of(loaded.model, prompts):
        rows = [row[mask.bool()].tolist() for row, mask in zip(answers.ids, answers.mask, strict=True)]
        found = torch.cat([_logits(reader, row) for row in rows])
        differences.append((found - answers.logits).abs().max())
        same.append(found.argmax(-1) == answers.logits.argmax(-1))
    return float(torch.stack(differences).max()), float(torch.cat(same).float().mean())


def _reader(file: Path) -> Any:
    from llama_cpp import Llama  # pyright: ignore[reportMissingImports]

    return Llama(
        str(file), n_ctx=128, n_threads=1, logits_all=True, verbose=False, type_k=_F32, type_v=_F32, flash_attn=False
    )


def _logits(reader: Any, ids: list[int]) -> Tensor:
    """Compute the logits of one text, (length, vocabulary)."""
    import torch

    reader.reset()
    reader.eval(ids)
    return torch.from_numpy(reader.scores[: len(ids)].copy())
