"""What a model is asked to generate: the prompts of held-out rows, with the answers that they have."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tuning.causal_lm import IGNORED_LABEL
from tuning.data.encoding import Encoding
from tuning.data.sources import Row, read_rows
from tuning.data.tokenization import TokenRow
from tuning.errors import DataError, UserError

logger = logging.getLogger(__name__)

Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True)
class Question:
    """A prompt as tokens and as text, the answer of the row, and for code its tests."""

    place: str
    prompt_ids: Sequence[int]
    prompt: str
    answer: str
    num_answer_tokens: int
    tests: str | None = None
    entry_point: str | None = None


def spread(rows: Sequence[Row], count: int) -> list[Row]:
    """Choose at most so many rows, evenly over all, because files are often sorted."""
    count = min(count, len(rows))
    return [rows[index * len(rows) // count] for index in range(count)]


def questions_of(
    rows: Sequence[Row], encoding: Encoding, decode: Decode, tests: Mapping[str, Row] | None = None
) -> list[Question]:
    """Make a question of each row: what stands before its last answer, in the tokens that training would give it.

    `decode` writes ids as text and leaves special tokens out. `tests` holds rows as they were read, by place.

    Raises:
        UserError: the rows have no answers apart from a text, or none of them can be tokenized.
    """
    whole = replace(encoding, max_length=None, completion_only_loss=True, assistant_only_loss=True)
    refused: list[str] = []

    def refuse(number: int, error: DataError) -> None:
        refused.append(f"{rows[number].place}: {error}")

    last = {found.row: found for found in whole.token_rows([row.values for row in rows], refuse)}
    if refused:
        told = f"{len(refused)} of {len(rows)} rows cannot be asked; the first: {refused[0]}"
        if not last:
            raise UserError(f"evaluation.generation_metrics: {told}")
        logger.warning("%s", told)
    return [_question(rows[number], found, decode, tests or {}) for number, found in sorted(last.items())]


def _question(row: Row, tokens: TokenRow, decode: Decode, tests: Mapping[str, Row]) -> Question:
    start, stop = last_answer(tokens.labels)
    if start == 0:
        raise UserError(
            f"evaluation.generation_metrics: {row.place} has no prompt before its answer, so there is nothing to ask; "
            "leave generation_metrics out"
        )
    found = tests[row.place].values if row.place in tests else {}
    prompt_ids, answer_ids = tokens.input_ids[:start], tokens.input_ids[start:stop]
    prompt = str(row.values["prompt"]) if isinstance(row.values.get("prompt"), str) else decode(prompt_ids)
    return Question(
        row.place,
        prompt_ids,
        prompt,
        decode(answer_ids),
        len(answer_ids),
        found.get("test"),
        found.get("entry_point"),
    )


def last_answer(labels: Sequence[int]) -> tuple[int, int]:
    """Find the last run of labels that are not ignored: where it starts and where it stops."""
    stop = len(labels)
    while stop and labels[stop - 1] == IGNORED_LABEL:
        stop -= 1
    start = stop
    while start and labels[start - 1] != IGNORED_LABEL:
        start -= 1
    return start, stop


def rows_with_tests(sources: Iterable[tuple[Sequence[str], str | None]], places: Iterable[str]) -> dict[str, Row]:
    """Read the rows of these places as they stand, for their columns `test` and `entry_point`.

    `sources` are the paths of each dataset and the split that is read of them.

    Raises:
        UserError: a row has no tests.
    """
    wanted = set(places)
    rows = (row for paths, split in sources for row in read_rows(paths, split))
    found = {row.place: row for row in rows if isinstance(row, Row) and row.place in wanted}
    for place in sorted(wanted):
        if place not in found or not isinstance(found[place].values.get("test"), str):
            raise UserError(f"evaluation.generation_metrics: pass_at_1 needs a column test, and {place} has none")
    return found
