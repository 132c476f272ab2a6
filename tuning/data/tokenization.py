"""Turn rows into token ids and labels, in batches, with whatever tokenizer the caller has."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tuning.data.pieces import Cutter, Piece, joined

IGNORED_LABEL = -100
"""Label of a token that is not trained on, in torch and in transformers."""
_BATCH_ROWS = 512
_SENTINELS = ("\n", "|", "#", "§")

Encode = Callable[[Sequence[str], bool], list[list[int]]]
"""Texts, and whether special tokens are added, to the ids of each text."""


class TokenRow(NamedTuple):
    """One sequence: ids, labels of the same length, and which converted row it was made of, counted from 0."""

    input_ids: list[int]
    labels: list[int]
    row: int
    num_lost: int = 0
    """Supervised tokens that truncation took."""


@dataclass(frozen=True)
class Encoder:
    """A tokenizer, reduced to what is needed here.

    A piece is encoded by itself, so that the model is trained on the ids that it sees when it generates: a prompt's
    own, then those of the answer. `adds_prefix_space` says that a text at the start of a sequence gets a space that
    the same text has not further on.
    """

    encode: Encode
    adds_prefix_space: bool

    @classmethod
    def of(cls, encode: Encode) -> Encoder:
        """Find out whether the tokenizer puts a space before a text."""
        alone, *after = encode(["a", *(f"{sentinel}a" for sentinel in _SENTINELS)], False)
        return cls(encode, all(ids[-len(alone) :] != alone for ids in after))

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
) -> Iterator[TokenRow]:
    """Tokenize converted rows in order; sequences are cut to `max_length` tokens, at the end or at the start.

    Raises:
        DataError: the chat template refuses a row.
    """
    numbered = iter(enumerate(rows))
    while batch := list(itertools.islice(numbered, _BATCH_ROWS)):
        cut = [(number, cutter.is_chat(row), joined(pieces)) for number, row in batch for pieces in cutter.cut(row)]
        ids = _encoded([(is_chat, pieces) for _, is_chat, pieces in cut], encoder)
        for (number, _, pieces), encoded in zip(cut, ids, strict=True):
            yield truncated(_token_row(number, pieces, encoded), max_length, truncation_mode)


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


def _encoded(rows: Sequence[tuple[bool, list[Piece]]], encoder: Encoder) -> list[list[list[int]]]:
    """Encode all pieces of a batch in three calls: first pieces with special tokens, without, and the others."""
    plain = [pieces[0].text if pieces else "" for is_chat, pieces in rows if not is_chat]
    chat = [pieces[0].text if pieces else "" for is_chat, pieces in rows if is_chat]
    rest = [piece.text for _, pieces in rows for piece in pieces[1:]]
    firsts = {False: iter(encoder.encode(plain, True)), True: iter(encoder.encode(chat, False))}
    others = iter(encoder.continuations(rest))
    return [[next(firsts[is_chat]), *itertools.islice(others, max(0, len(pieces) - 1))] for is_chat, pieces in rows]


def _token_row(number: int, pieces: Sequence[Piece], encoded: Sequence[list[int]]) -> TokenRow:
    input_ids: list[int] = []
    labels: list[int] = []
    for piece, ids in zip(pieces, encoded, strict=False):
        input_ids += ids
        labels += ids if piece.is_supervised else [IGNORED_LABEL] * len(ids)
    return TokenRow(input_ids, labels, number)
