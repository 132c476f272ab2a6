"""The prompts that a model and its export are compared on."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuning.config.decided import seed_of
from tuning.export.source import CONFIG_FILE, Source

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)

NUM_PROMPTS = 16
LONGEST_PROMPT, NUM_NEW_TOKENS = 12, 6
"""Source: a LoRA on 510 million weights in bfloat16 as q8_0: 11 CPU s to answer and to compare; 15 with 16 and 8."""
_BATCHES = (1, 5, 10)
"""Prompts of each batch: three shapes, of which the first has no padding."""
_SEED = 8
_MOST_LOGITS = 2**25
"""Most logits that are kept, 128 MiB of them: large vocabularies get shorter prompts."""
_SHORTEST = 4


@dataclass(frozen=True)
class Prompts:
    """Sixteen prompts of token ids, and where they come from."""

    ids: Sequence[list[int]]
    origin: str

    def batches(self) -> list[list[list[int]]]:
        """Divide the prompts into batches of different numbers and lengths, the shortest first."""
        ordered, found = sorted(self.ids, key=len), []
        for number in _BATCHES:
            found.append(ordered[:number])
            ordered = ordered[number:]
        return found


def prompts_for(source: Source, tokenizer: Any, vocab_size: int) -> Prompts:
    """Take the beginnings of the run's held-out rows; without a run, or without its rows, random tokens.

    All begin with the invocation of an aLoRA, which does nothing before it.
    """
    longest = max(_SHORTEST, min(LONGEST_PROMPT, _MOST_LOGITS // (NUM_PROMPTS * vocab_size) - NUM_NEW_TOKENS))
    rows = _held_out(source, tokenizer)
    usable = [ids for ids in rows if len(ids) >= _SHORTEST and max(ids) < vocab_size]
    if usable:
        # A few rows are repeated from other beginnings on, so that there are sixteen different prompts.
        ids = [usable[n % len(usable)][n // len(usable) :][: _length(n, longest)] for n in range(NUM_PROMPTS)]
        if all(ids):
            return Prompts(_invoked(source, ids), "held-out rows")
    drawn = random_prompts(min(len(tokenizer), vocab_size), longest)
    return Prompts(_invoked(source, drawn), "random tokens")


def _invoked(source: Source, prompts: list[list[int]]) -> list[list[int]]:
    return [source.invocation_tokens + prompt for prompt in prompts]


def random_prompts(vocab_size: int, longest: int = LONGEST_PROMPT) -> list[list[int]]:
    """Draw sixteen prompts, always the same ones; the last tokens of the vocabulary, the added ones, are among them."""
    import random

    draw = random.Random(_SEED)
    prompts = [[draw.randrange(vocab_size) for _ in range(_length(n, longest))] for n in range(NUM_PROMPTS)]
    for number, prompt in enumerate(prompts):
        prompt[-2] = vocab_size - 1 - number % min(4, vocab_size)
    return prompts


def padded(batch: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Pad a batch on the right; returns token ids and attention mask, both (batch, length) int64."""
    import torch

    length = max(map(len, batch))
    ids = torch.tensor([[*row, *[0] * (length - len(row))] for row in batch])
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in batch])
    return ids, mask


def _length(number: int, longest: int) -> int:
    return _SHORTEST + number * (longest - _SHORTEST) // (NUM_PROMPTS - 1)


def _held_out(source: Source, tokenizer: Any) -> list[list[int]]:
    """Make tokens of the held-out rows of the run; none where the rows are gone or cannot be read."""
    if source.run_folder is None or not (source.run_folder / CONFIG_FILE).is_file():
        return []
    from tuning.config.building import build_config
    from tuning.config.loading import load_ir
    from tuning.data.held_out import held_out_tokens, load_held_out
    from tuning.preparation import encodings_of

    try:
        loaded = load_ir([str(source.run_folder / CONFIG_FILE)])
        config = build_config(loaded.ir, (), loaded.problems)
        held_out = load_held_out(config.data, seed_of(config))
        first = type(held_out)(held_out.rows[:NUM_PROMPTS], NUM_PROMPTS, 1.0)
        return held_out_tokens(first, encodings_of(config, tokenizer).validation)[0]["input_ids"][:NUM_PROMPTS]
    except (ValueError, OSError) as error:  # a tokenizer without a chat template is a ValueError
        logger.warning("export: the run's held-out rows cannot be had, so random tokens are compared: %s", error)
        return []
