"""Hand the rows to TRL as datasets, so that TRL tokenises, masks and packs them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuning.data.rows import Rows
from tuning.data.tokenization import IGNORED_LABEL
from tuning.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Splits:
    """The datasets of a run, and whether the template itself marks what the assistant says."""

    train: Dataset
    validation: Dataset | None
    assistant_only_loss: bool


def load_datasets(rows: Rows, tokenizer: PreTrainedTokenizerBase) -> Splits:
    """Make the datasets; loss falls on the response alone, wherever a row has one."""
    chat = "messages" in rows.train[0]
    marked = chat and _marks_assistant(tokenizer)
    if chat and not marked:
        logger.warning(
            "The chat template does not mark what the assistant says, so each of its turns becomes a row of its own "
            "(prompt: the turns before it). A template with generation marks trains all turns in one row."
        )
    return Splits(
        _dataset(rows.train, split_turns=chat and not marked),
        _dataset(rows.validation, split_turns=chat and not marked) if rows.validation else None,
        assistant_only_loss=marked,
    )


def is_supervised(dataset: Any) -> bool:
    """Tell whether any token of a prepared dataset is trained on."""
    return any(label != IGNORED_LABEL for row in dataset for label in row["labels"])


def _dataset(rows: list[dict[str, Any]], split_turns: bool) -> Dataset:
    from datasets import Dataset
    from pyarrow import ArrowException

    turns = [turn for row in rows for turn in _turns(row)] if split_turns else rows
    if not turns:
        raise DataError("no conversation has a turn of the assistant that answers something")
    try:
        return Dataset.from_list(turns)
    except (ArrowException, TypeError) as error:
        raise DataError(f"the rows differ in shape, and one dataset has one shape: {error}") from error


def _turns(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Make one prompt and completion of each assistant turn of a conversation."""
    messages = row["messages"]
    for index, message in enumerate(messages):
        if message["role"] == "assistant" and index > 0:
            yield {"prompt": messages[:index], "completion": [message]}


def _marks_assistant(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Tell whether TRL can see what the assistant says: by the template's marks, or by its own copy of the template."""
    from trl.chat_template_utils import get_training_chat_template, has_generation_markers

    if has_generation_markers(tokenizer.chat_template):
        return True
    try:
        get_training_chat_template(tokenizer)
    except ValueError:
        return False
    return True
