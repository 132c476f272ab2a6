"""Look through tokenized rows for what the audit counts: all of a batch at once, as columns of numbers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tuning.causal_lm import IGNORED_LABEL
from tuning.data.pieces import RenderChat
from tuning.data.templates import ANSWER_BEGINS, ANSWER_ENDS
from tuning.data.tokenization import Encode, TokenRow
from tuning.errors import DataError

if TYPE_CHECKING:
    import pyarrow

Numbers = np.ndarray[Any, np.dtype[Any]]

_BATCH_TOKENS = 1_000_000
"""Tokens that are looked at together: about 50 MB of columns."""
_AFTER_THE_END = 2
"""Tokens of blank text that may follow an end token: the line break that templates write is one or two."""
_BLANKS = (" ", "  ", "\n", "\n\n", " \n", "\t")
_ANSWER = "kingfisher"


@dataclass(frozen=True)
class SpecialTokens:
    """The tokens that the audit has to know: those that begin and end texts, and what the chat template does.

    `end_of_turn` is the token that the chat template writes after an answer, which may be the end token or another.
    `blank` are tokens that say nothing. `marks_assistant`: the template marks what the assistant says.
    """

    eos_token: str
    eos: int
    bos: int | None = None
    end_of_turn_token: str | None = None
    end_of_turn: int | None = None
    blank: frozenset[int] = frozenset()
    marks_assistant: bool = True

    @classmethod
    def of(
        cls, encode: Encode, eos_token: str, bos_token: str | None, added: Collection[int], render_chat: RenderChat
    ) -> SpecialTokens:
        """Find them out from a tokenizer and its template; `added` are the ids outside the vocabulary of text."""
        special = set(added)
        blank = {number for ids in encode(_BLANKS, False) for number in ids} - special
        rendered = _short_conversation(render_chat)
        after = rendered.replace(ANSWER_ENDS, "").rpartition(_ANSWER)[2]
        end_of_turn = next((number for number in encode([after], False)[0] if number in special), None)
        return cls(
            eos_token,
            encode([eos_token], False)[0][-1],
            None if bos_token is None else encode([bos_token], False)[0][-1],
            None if end_of_turn is None else _token_at_the_start_of(after, encode, end_of_turn),
            end_of_turn,
            frozenset(blank),
            ANSWER_BEGINS in rendered,
        )

    @property
    def ends(self) -> list[int]:
        """List the tokens that an answer may end with."""
        return [self.eos] if self.end_of_turn in (None, self.eos) else [self.eos, int(self.end_of_turn or 0)]


@dataclass(frozen=True)
class Scan:
    """What is counted of each sequence, one entry each; an answer is a run of supervised tokens without a gap.

    `row` is the converted row that the sequence was made of. `num_unended` counts answers without an end token,
    `num_ended_turns` those that end with the template's end-of-turn token where that is not the end token, `num_empty`
    answers that say nothing, `least_content` the tokens that its shortest answer says something with (-1: there is
    none). `fingerprint` is equal for equal ids: of 200,000 different sequences two share one once in 10**9 sets.
    """

    row: Numbers
    num_tokens: Numbers
    num_supervised: Numbers
    num_lost: Numbers
    num_unended: Numbers
    num_ended_turns: Numbers
    num_empty: Numbers
    least_content: Numbers
    is_double_bos: Numbers
    fingerprint: Numbers


def scan(table: pyarrow.Table, tokens: SpecialTokens) -> Scan:
    """Count in every sequence of a table with the columns of `TokenTable`."""
    num_tokens = sum(len(chunk.flatten()) for chunk in table["input_ids"].chunks)
    most = max(1, _BATCH_TOKENS * table.num_rows // max(1, num_tokens))
    found = [_scan_batch(_columns(batch), tokens) for batch in table.to_batches(max_chunksize=most)]
    found = found or [_scan_batch(_columns_of_rows([]), tokens)]
    return Scan(**{field.name: np.concatenate([getattr(part, field.name) for part in found]) for field in fields(Scan)})


def scan_rows(rows: Sequence[TokenRow], tokens: SpecialTokens) -> Scan:
    """Count in every one of a few sequences, without pyarrow."""
    return _scan_batch(_columns_of_rows(rows), tokens)


class _Columns(NamedTuple):
    """Sequences one after the other; `offsets` are where each starts, and where the last ends."""

    input_ids: Numbers
    labels: Numbers
    offsets: Numbers
    row: Numbers
    num_lost: Numbers


def _columns(batch: pyarrow.RecordBatch) -> _Columns:
    offsets = batch["input_ids"].offsets.to_numpy().astype(np.int64)
    ids, labels = (batch[name].flatten().to_numpy() for name in ("input_ids", "labels"))
    return _Columns(ids, labels, offsets - offsets[0], batch["row"].to_numpy(), batch["num_lost"].to_numpy())


def _columns_of_rows(rows: Sequence[TokenRow]) -> _Columns:
    offsets = np.cumsum([0, *(len(row.input_ids) for row in rows)])
    ids = np.fromiter((token for row in rows for token in row.input_ids), np.int32, offsets[-1])
    labels = np.fromiter((label for row in rows for label in row.labels), np.int32, offsets[-1])
    row, num_lost = (np.array([getattr(each, name) for each in rows], np.int32) for name in ("row", "num_lost"))
    return _Columns(ids, labels, offsets, row, num_lost)


def _scan_batch(columns: _Columns, tokens: SpecialTokens) -> Scan:
    ids, labels, offsets, row, num_lost = columns
    sums = _Sums(offsets)
    supervised = labels != IGNORED_LABEL
    starts, ends = _runs(supervised, offsets)
    is_end = np.isin(ids, tokens.ends)
    says = ~(is_end | np.isin(ids, [*tokens.blank, *([] if tokens.bos is None else [tokens.bos])]))
    said = np.concatenate([[0], np.cumsum(says)])
    content = said[ends + 1] - said[starts]
    end = _end_tokens(ids, is_end, says, starts, ends)
    owner = np.searchsorted(offsets, starts, side="right") - 1
    least = np.full(len(offsets) - 1, np.iinfo(np.int64).max)
    np.minimum.at(least, owner, content)
    return Scan(
        row=row,
        num_tokens=np.diff(offsets),
        num_supervised=sums(supervised),
        num_lost=num_lost,
        num_unended=_count(owner[end < 0], offsets),
        num_ended_turns=_count(owner[(end >= 0) & (end != tokens.eos)], offsets),
        num_empty=_count(owner[content == 0], offsets),
        least_content=np.where(least == np.iinfo(np.int64).max, -1, least),
        is_double_bos=_double_bos(ids, offsets, tokens.bos),
        fingerprint=sums(_mixed(ids, offsets)),
    )


@dataclass(frozen=True)
class _Sums:
    """Sum what belongs to each sequence."""

    offsets: Numbers

    def __call__(self, values: Numbers) -> Numbers:
        kind = values.dtype if values.dtype == np.uint64 else np.dtype(np.int64)
        running = np.concatenate([np.zeros(1, kind), np.cumsum(values, dtype=kind)])
        return running[self.offsets[1:]] - running[self.offsets[:-1]]


def _runs(supervised: Numbers, offsets: Numbers) -> tuple[Numbers, Numbers]:
    """Find the first and the last token of every run of supervised tokens; a sequence's end ends a run."""
    before, after = np.zeros_like(supervised), np.zeros_like(supervised)
    before[1:], after[:-1] = supervised[:-1], supervised[1:]
    firsts, stops = offsets[:-1], offsets[1:]
    before[firsts[firsts < len(supervised)]] = False
    after[stops[stops > 0] - 1] = False
    return np.flatnonzero(supervised & ~before), np.flatnonzero(supervised & ~after)


def _end_tokens(ids: Numbers, is_end: Numbers, says: Numbers, starts: Numbers, ends: Numbers) -> Numbers:
    """Return the token that ends each run, or -1; blank text may follow it."""
    found = np.full(len(ends), -1, np.int64)
    only_blank_follows = np.ones(len(ends), np.bool_)
    for back in range(_AFTER_THE_END + 1):
        places = np.maximum(ends - back, starts)
        found = np.where((found < 0) & only_blank_follows & is_end[places], ids[places], found)
        only_blank_follows &= ~says[places]
    return found


def _count(owners: Numbers, offsets: Numbers) -> Numbers:
    return np.bincount(owners, minlength=len(offsets) - 1)


def _double_bos(ids: Numbers, offsets: Numbers, bos: int | None) -> Numbers:
    found = np.zeros(len(offsets) - 1, np.bool_)
    if bos is not None and len(ids):
        long = np.flatnonzero(np.diff(offsets) > 1)
        first = offsets[long]
        found[long] = (ids[first] == bos) & (ids[first + 1] == bos)
    return found


def _mixed(ids: Numbers, offsets: Numbers) -> Numbers:
    """Turn each id, at its place in its sequence, into 64 bits that look random (the finalizer of splitmix64)."""
    place = np.arange(len(ids), dtype=np.uint64) - np.repeat(offsets[:-1], np.diff(offsets)).astype(np.uint64)
    mixed = (ids.astype(np.uint64) + np.uint64(1)) + (place << np.uint64(32))
    mixed += np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed ^= mixed >> np.uint64(shift)
        mixed *= np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return mixed


def _short_conversation(render_chat: RenderChat) -> str:
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _ANSWER}]
    try:
        return render_chat(messages, None, False)
    except DataError:
        return ""


def _token_at_the_start_of(text: str, encode: Encode, token: int) -> str:
    """Find the shortest start of a text that encodes to a token: its name, with blanks before it left out."""
    lengths = range(1, len(text) + 1)
    length = next((n for n in lengths if token in encode([text[:n]], False)[0]), len(text))
    return text[:length].strip()
