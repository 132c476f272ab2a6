"""Generate texts in batches: prompts padded on the left, ended by any of the model's end tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuning.evaluation.answer_length import positions_of, room_for_prompt

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedTokenizerBase
    from transformers.generation.streamers import BaseStreamer


@dataclass(frozen=True)
class Decoding:
    """How texts are generated; temperature 0 takes the most likely token each time."""

    max_new_tokens: int
    batch_size: int = 8
    temperature: float = 0.0
    num_return_sequences: int = 1


def generate(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    decoding: Decoding,
    streamer: BaseStreamer | None = None,
) -> list[list[str]]:
    """Generate texts for prompts of token ids; returns a list for each prompt, of `num_return_sequences` texts.

    A prompt that leaves no room for the answer within the model's positions loses its beginning.

    Raises:
        UserError: the model has no room for an answer of that length.
    """
    room = room_for_prompt(positions_of(model.config), decoding.max_new_tokens, "max_new_tokens") or 0
    found: list[list[str]] = [[] for _ in prompts]
    by_length = sorted(range(len(prompts)), key=lambda index: len(prompts[index]), reverse=True)
    config = generation_config(model, tokenizer, decoding)
    with evaluating(model), _generation_config_of(model, config):
        for start in range(0, len(by_length), decoding.batch_size):
            batch = by_length[start : start + decoding.batch_size]
            texts = _generate_batch(model, tokenizer, [prompts[index][-room:] for index in batch], config, streamer)
            for position, index in enumerate(batch):
                first = position * decoding.num_return_sequences
                found[index] = texts[first : first + decoding.num_return_sequences]
    return found


def generation_config(model: Any, tokenizer: PreTrainedTokenizerBase, decoding: Decoding) -> GenerationConfig:
    """Make a configuration from the decoding and the end tokens alone."""
    from transformers import GenerationConfig

    sampled = decoding.temperature > 0
    chosen: dict[str, Any] = {"temperature": decoding.temperature, "top_k": 0, "top_p": 1.0} if sampled else {}
    return GenerationConfig(
        max_new_tokens=decoding.max_new_tokens,
        do_sample=sampled,
        num_return_sequences=decoding.num_return_sequences,
        eos_token_id=end_tokens(model, tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        **chosen,
    )


def end_tokens(model: Any, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """List the ids that end a text: the tokenizer's end token and those that the model itself names."""
    named = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    own = named if isinstance(named, list) else [named]
    return sorted({token for token in (tokenizer.eos_token_id, *own) if isinstance(token, int)})


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Switch dropout off, and back on where it was on."""
    import torch

    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


@contextmanager
def _generation_config_of(model: Any, config: GenerationConfig) -> Iterator[None]:
    """Give a model, and what it wraps, a configuration for as long as the context is open.

    What `generate` is not told, transformers takes from the model's own, and for much of it no value means none.
    """
    parts = [model, *([model.get_base_model()] if hasattr(model, "get_base_model") else [])]
    own = [part.generation_config for part in parts]
    try:
        for part in parts:
            part.generation_config = config
        yield
    finally:
        for part, before in zip(parts, own, strict=True):
            part.generation_config = before


def _generate_batch(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    config: GenerationConfig,
    streamer: BaseStreamer | None,
) -> list[str]:
    import torch

    length = max(map(len, prompts))
    device = model.get_input_embeddings().weight.device
    padding = config.pad_token_id
    input_ids = torch.tensor([[padding] * (length - len(ids)) + list(ids) for ids in prompts], device=device)
    mask = torch.tensor([[0] * (length - len(ids)) + [1] * len(ids) for ids in prompts], device=device)
    ids = model.generate(input_ids=input_ids, attention_mask=mask, generation_config=config, streamer=streamer)
    return tokenizer.batch_decode(ids[:, length:], skip_special_tokens=True)
