"""How long a generated answer may be: prompt and answer share the positions that a model knows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tuning.config.sections import Model
from tuning.errors import UserError

if TYPE_CHECKING:
    from tuning.evaluation.questions import Question

logger = logging.getLogger(__name__)

FIELD = "evaluation.max_new_tokens"


def positions_of(config: Any) -> int | None:
    """Return how many positions a model knows by its configuration; None: it names no limit."""
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)
    return positions if isinstance(positions, int) and positions > 1 else None


def positions_before_loading(model: Model) -> int | None:
    """Return the same for a model that is not loaded yet; None, too, where its configuration cannot be read."""
    from transformers import AutoConfig

    options = {"revision": model.revision, "cache_dir": model.cache_dir, "trust_remote_code": model.trust_remote_code}
    try:
        return positions_of(AutoConfig.from_pretrained(str(model.model_name_or_path), **options))
    except (OSError, ValueError):  # loading the model tells it better
        return None


def room_for_prompt(positions: int | None, max_new_tokens: int, field: str = FIELD) -> int | None:
    """Return how many tokens of a prompt fit beside the answer; None: any number. `field` is what a user calls it.

    Raises:
        UserError: there is no room for a prompt.
    """
    if positions is None:
        return None
    if max_new_tokens >= positions:
        told = f"{field}: {max_new_tokens} tokens, and the model knows {positions} positions"
        raise UserError(f"{told}; choose at most {positions - 1}")
    return positions - max_new_tokens


def max_new_tokens_for(questions: Sequence[Question], positions: int | None) -> int:
    """Return the length of the longest answer with its end token; less where it leaves the prompts no room.

    The longest prompt stays whole, unless the answers would get less than half of the positions.
    """
    wanted = max(question.num_answer_tokens for question in questions) + 1
    if positions is None:
        return wanted
    longest_prompt = max(len(question.prompt_ids) for question in questions)
    return min(wanted, max(positions - longest_prompt, positions // 2))


def check_answer_length(questions: Sequence[Question], max_new_tokens: int | None, model: Model) -> None:
    """Refuse answers that leave no room for a prompt before the model is loaded, and tell of what does not fit.

    Raises:
        UserError: `max_new_tokens` is too much for the model.
    """
    if not questions:
        return
    positions = positions_before_loading(model)
    decided = max_new_tokens or max_new_tokens_for(questions, positions)
    longest = max(question.num_answer_tokens for question in questions)
    if max_new_tokens is None and decided <= longest:
        told = f"answers end after {decided} tokens, and the longest of the rows has {longest}"
        logger.warning("%s: %s: the model knows %s positions, shared with the prompt", FIELD, told, positions)
    tell_cut_prompts([question.prompt_ids for question in questions], room_for_prompt(positions, decided))


def tell_cut_prompts(prompts: Sequence[Sequence[int]], room: int | None) -> None:
    """Say how many prompts lose their beginning."""
    num_cut = 0 if room is None else sum(len(ids) > room for ids in prompts)
    if num_cut:
        logger.warning(
            "%d of %d prompts have more than the %d tokens that the answer leaves of the model's positions; "
            "they lose their beginning",
            *(num_cut, len(prompts), room),
        )
