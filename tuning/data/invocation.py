"""Look for what invokes an aLoRA adapter in the rows that it learns from."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable
from typing import Any

from tuning.errors import UserError

_ROWS_LOOKED_AT = 1000
"""Source: a look at so many rows takes milliseconds, and rows of one file are alike."""

logger = logging.getLogger(__name__)


def check_invocation(rows: Iterable[Any], invocation: list[int]) -> None:
    """Refuse rows of which none holds the token ids of the invocation, and warn where some of the first do not.

    A text can have other tokens inside of a row than alone; nothing would be trained then, without an error.

    Raises:
        UserError: no row holds them.
    """
    looked_at = itertools.islice(rows, _ROWS_LOOKED_AT)
    invoked = [_is_within(list(row["input_ids"]), invocation) for row in looked_at]
    if not any(invoked):
        raise UserError(
            f"peft.alora_invocation_string: the tokens {invocation} stand in none of the first {len(invoked)} rows; a "
            "text has other tokens where it touches its neighbours: begin and end it at a special token or a line break"
        )
    if not all(invoked):
        missing = invoked.count(False)
        logger.warning("aLoRA: %d of the first %d rows hold no invocation and train nothing", missing, len(invoked))


def _is_within(ids: list[int], wanted: list[int]) -> bool:
    return any(ids[start : start + len(wanted)] == wanted for start in range(len(ids) - len(wanted) + 1))
