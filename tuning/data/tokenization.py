"""Turn rows into token ids and labels, in batches, with whatever tokenizer the caller has."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tuning.causal_lm import IGNORED_LABEL
from tuning.data.pieces import Cutter, Piece, joined
from tuning.errors import DataError

MAX_NUM_TOKENS = "max_num_tokens"
"""Key of a converted row that holds the number of tokens above which a sequence made of it is left out."""
_BATCH_ROWS = 512
_SENTINELS = ("\n", "|", "#", "§")

Encode = Callable[[Sequence[str], bool], list[list[int]]]
"""Texts, and whether special tokens are added, to the ids of each text."""
Refuse = Callable[[int, DataError], None]
"""What to do with a row that cannot be tokenized: its number, counted from 0, and why."""
LeaveOut = Callable[[int], None]
"""What to do with a row of which a sequence is longer than its handlers allow: its number, counted from 0."""


class TokenRow(NamedTuple):
    """One sequence: ids, labels of the same length, and which converted row it was made of, counted from 0."""

    input_ids: list[int]
    labels: list[int]
    row: int
    num_lost: int = 0
    """Supervised tokens that truncation took."""


class _CutRow(NamedTuple):
    """One sequence before it is encoded: its pieces, or its tokens where the row has them already."""

    row: int
    is_chat: bool
    pieces: Sequence[Piece]
    tokens: TokenRow | None = None
    max_num_tokens: int | None = None
    """Tokens above which the sequence is left out."""


@dataclass(frozen=True)
class Encoder:
    """A tokenizer, reduced to what is needed here.

    A piece is encoded by itself, so that the model is trained on the ids that it sees when it generates: a prompt's
    own, then those of the answer. `adds_prefix_space` says that a text at the start of a sequence gets a space that
    the same text has not further on. `first_ids` are what the tokenizer puts before a text; what it may put after one
    would stand between a prompt and its answer, so it is left out: texts end with the end token anyway.
    """

    encode: Encode
    adds_prefix_space: bool
    first_ids: tuple[int, ...] = ()
    num_ids: int | None = None
    """Size of the vocabulary; None: ids that rows bring with them are not compared with it."""

    @classmethod
    def of(cls, encode: Encode, num_ids: int | None = None) -> Encoder:
        """Find out what the tokenizer puts before a text: ids of its own, and perhaps a space."""
        alone, *after = encode(["a", *(f"{sentinel}a" for sentinel in _SENTINELS)], False)
        (whole,) = encode(["a"], True)
        before = next((at for at in range(len(whole)) if whole[at : at + len(alone)] == alone), 0)
        adds_prefix_space = all(ids[-len(alone) :] != alone for ids in after)
        return cls(encode, adds_prefix_space, tuple(whole[:before]), num_ids)

    def continuations(self, texts: Sequence[str]) -> list[list[int]]:
        """Encode texts that go on after another."""
        if not self.adds_prefix_space:
            return self.encode(texts, False)
        found: list[list[int] | None] = [None] * len(texts)
        for sentinel in _SENTINELS:
            (mark,) = self.encode([sentinel], False)
            missing = [index for index, ids in enumerate(found) if ids is None]
            encoded = self.encode([sentinel + texts[index] for index in missing], False)
            for index, ids in zip(missing, encoded, strict=True):
                if ids[: len(mark)] == mark:
                    found[index] = ids[len(mark) :]
        alone = iter(self.encode([text for text, ids in zip(texts, found, strict=True) if ids is None], False))
        return [next(alone) if ids is None else ids for ids in found]


def tokenize(
    rows: Iterable[Mapping[str, Any]],
    cutter: Cutter,
    encoder: Encoder,
    max_length: int | None = None,
    truncation_mode: str = "keep_start",
    refuse: Refuse | None = None,
    leave_out: LeaveOut | None = None,
) -> Iterator[TokenRow]:
    """Tokenize converted rows in order; sequences are cut to `max_length` tokens, at the end or at the start.

    `refuse` is told of a row that cannot be tokenized, which is then left out; None: the error is raised. `leave_out`
    is told of each sequence that is left out because it is longer than `MAX_NUM_TOKENS` of its row.

    Raises:
        DataError: the chat template refuses a row, or a row brings tokens that the vocabulary has not.
    """
    numbered = iter(enumerate(rows))
    while batch := list(itertools.islice(numbered, _BATCH_ROWS)):
        cut = [piece for number, row in batch for piece in _cut(number, row, cutter, encoder, refuse or _raise)]
        encoded = _encoded([one for one in cut if one.tokens is None], encoder)
        for one in cut:
            tokens = one.tokens or _token_row(one, next(encoded), encoder)
            if one.max_num_tokens is None or len(tokens.input_ids) <= one.max_num_tokens:
                yield truncated(tokens, max_length, truncation_mode)
            elif leave_out is not None:
                leave_out(one.row)


def truncated(row: TokenRow, max_length: int | None, truncation_mode: str = "keep_start") -> TokenRow:
    """Cut a sequence to a length and count the supervised tokens that it loses."""
    if max_length is None or len(row.input_ids) <= max_length:
        return row
    kept = slice(-max_length, None) if truncation_mode == "keep_end" else slice(max_length)
    labels = row.labels[kept]
    return TokenRow(row.input_ids[kept], labels, row.row, num_supervised(row.labels) - num_supervised(labels))


def num_supervised(labels: Sequence[int]) -> int:
    """Count the labels that the loss falls on."""
    return len(labels) - labels.count(IGNORED_LABEL)


def _raise(_: int, error: DataError) -> None:
    raise error


def _cut(number: int, row: Mapping[str, Any], cutter: Cutter, encoder: Encoder, refuse: Refuse) -> list[_CutRow]:
    try:
        longest = row.get(MAX_NUM_TOKENS)
        if "input_ids" in row:
            return [_CutRow(number, False, (), _given_tokens(number, row, encoder.num_ids), longest)]
        is_chat = cutter.is_chat(row)
        return [_CutRow(number, is_chat, joined(pieces), None, longest) for pieces in cutter.cut(row)]
    except DataError as error:
        refuse(number, error)
        return []


def _given_tokens(number: int, row: Mapping[str, Any], num_ids: int | None) -> TokenRow:
    """Take the tokens that a row brings; without labels, all of them are trained on."""
    ids, labels = list(row["input_ids"]), list(row.get("labels") or row["input_ids"])
    unknown = [token for token in ids if num_ids is not None and not 0 <= token < num_ids]
    if unknown:
        raise DataError(f"column input_ids: {unknown[0]} is no id of the tokenizer, which has {num_ids}")
    wrong = next((label for token, label in zip(ids, labels, strict=True) if label not in (token, IGNORED_LABEL)), None)
    if wrong is not None and num_ids is not None and not 0 <= wrong < num_ids:
        raise DataError(f"column labels: {wrong} is no id of the tokenizer, which has {num_ids}, and not -100")
    return TokenRow(ids, labels, number)


def _encoded(rows: Sequence[_CutRow], encoder: Encoder) -> Iterator[list[list[int]]]:
    """Encode all pieces of a batch at once, or in two calls where what stands first is encoded in another way."""
    firsts = [row.pieces[0].text if row.pieces else "" for row in rows]
    rest = [piece.text for row in rows for piece in row.pieces[1:]]
    if encoder.adds_prefix_space:
        starts, others = iter(encoder.encode(firsts, False)), iter(encoder.continuations(rest))
    else:
        found = iter(encoder.encode([*firsts, *rest], False))
        starts, others = iter(list(itertools.islice(found, len(firsts)))), found
    for row in rows:
        yield [next(starts), *itertools.islice(others, max(0, len(row.pieces) - 1))]


def _token_row(row: _CutRow, encoded: Sequence[list[int]], encoder: Encoder) -> TokenRow:
    input_ids = [] if row.is_chat else list(encoder.first_ids)
    labels = [IGNORED_LABEL] * len(input_ids)
    for piece, ids in zip(row.pieces, encoded, strict=False):
        input_ids += ids
        labels += ids if piece.is_supervised else [IGNORED_LABEL] * len(ids)
    return TokenRow(input_ids, labels, row.row)
