"""What the invariances are measured on: the user's tokenizer and rows, and a tiny copy of the model's architecture."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tuning.causal_lm import IGNORED_LABEL
from tuning.config.decided import seed_of
from tuning.config.schema import TuningConfig
from tuning.data.encoding import Encoding
from tuning.data.rows import Rows, load_rows
from tuning.data.sources import Row
from tuning.data.streamed import first_rows, open_stream
from tuning.data.tokenization import TokenRow
from tuning.doctor.tiny_copy import tiny_config
from tuning.errors import UserError
from tuning.preparation import encodings_of
from tuning.tokenizer import Additions, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Examples = Sequence[dict[str, list[int]]]
"""Sequences as TRL's collator takes them: `input_ids` and `labels`."""

MOST_ROWS = 64
NUM_SEQUENCES = 4
_MOST_TOKENS = 96
"""Tokens of a sequence that the tiny model sees, which is longer than the window of its windowed attention."""
_ON_A_CPU = frozenset({"eager", "sdpa"})


@dataclass(frozen=True)
class Subject:
    """A configuration, its tokenizer, some of its rows as they were converted, and what makes tokens of them."""

    config: TuningConfig
    tokenizer: PreTrainedTokenizerBase
    additions: Additions
    rows: Sequence[Row]
    encoding: Encoding

    def sequences(self) -> list[TokenRow]:
        """Tokenize the rows as training does, uncut; rows that cannot be tokenized are left out."""
        values = (row.values for row in self.rows)
        return list(replace(self.encoding, max_length=None).token_rows(values, lambda row, why: None))

    def examples(self) -> list[dict[str, list[int]]]:
        """Choose a few sequences of different lengths, cut to what the tiny model sees, each with something to learn.

        Raises:
            UserError: no row teaches anything.
        """
        cut = [_cut(found) for found in self.sequences() if any(label != IGNORED_LABEL for label in found.labels)]
        if not cut:
            raise UserError("none of the first rows has anything to learn from; `tune preview` shows why")
        cut.sort(key=lambda each: len(each["input_ids"]))
        chosen = [cut[index * (len(cut) - 1) // max(1, NUM_SEQUENCES - 1)] for index in range(NUM_SEQUENCES)]
        return [_shortened(each, index) for index, each in enumerate(chosen)]

    def tiny_model(self, seed: int = 0) -> PreTrainedModel:
        """Make a model of the same architecture from random float32 weights on the CPU; a seed makes the same one."""
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        section = self.config.model
        full = AutoConfig.from_pretrained(
            str(section.model_name_or_path),
            revision=section.revision,
            cache_dir=section.cache_dir,
            trust_remote_code=section.trust_remote_code,
        )
        options: dict[str, Any] = {"trust_remote_code": section.trust_remote_code}
        if section.attn_implementation in _ON_A_CPU:
            options["attn_implementation"] = section.attn_implementation
        tiny = type(full).from_dict(tiny_config(full.to_dict(), len(self.tokenizer)))
        with torch.random.fork_rng(devices=[]), quiet("transformers"):
            torch.manual_seed(seed)
            return AutoModelForCausalLM.from_config(tiny, **options)


def subject_of(config: TuningConfig) -> Subject:
    """Load the tokenizer and the first rows of a configuration.

    Raises:
        UserError: one of them cannot be used.
    """
    tokenizer, additions = load_tokenizer(config)
    rows = _rows(config).train[:MOST_ROWS]
    return Subject(config, tokenizer, additions, rows, encodings_of(config, tokenizer).train)


@contextlib.contextmanager
def quiet(name: str) -> Iterator[None]:
    """Keep a library's warnings out of the report."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _rows(config: TuningConfig) -> Rows:
    seed = seed_of(config)
    return first_rows(open_stream(config.data, seed)) if config.data.streaming else load_rows(config.data, seed)


def _cut(found: TokenRow) -> dict[str, list[int]]:
    """Keep the tokens before and after the start of what is learned."""
    learned = next(index for index, label in enumerate(found.labels) if label != IGNORED_LABEL)
    start = max(0, min(learned - _MOST_TOKENS // 2, len(found.labels) - _MOST_TOKENS))
    part = slice(start, start + _MOST_TOKENS)
    return {"input_ids": list(found.input_ids[part]), "labels": list(found.labels[part])}


def _shortened(example: dict[str, list[int]], index: int) -> dict[str, list[int]]:
    """Leave out a few tokens at the end, so that rows of one length differ too; what is learned never goes whole."""
    last = next(place for place, label in enumerate(example["labels"]) if label != IGNORED_LABEL) + 1
    length = max(last + 1, len(example["labels"]) - 3 * (NUM_SEQUENCES - 1 - index))
    return {name: values[:length] for name, values in example.items()}
