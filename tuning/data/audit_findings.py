"""The checks of the audit: each yields what it finds, with the rows that it found it in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tuning.data.audit_tokens import Numbers, Scan, SpecialTokens
from tuning.data.finding import Finding, Level, Split, level_of
from tuning.data.mojibake import wrongly_decoded
from tuning.data.sources import Row, Skipped

USUAL_ANSWER = 16
"""Median of the answers, tokens, from which on an answer of one token stands out. Stated by us: labels and short facts
are shorter than this throughout, prose is longer."""


def findings_of_tokens(split: Split, places: Sequence[str], found: Scan, tokens: SpecialTokens) -> Iterator[Finding]:
    """Yield what the tokens of a split show."""
    by_row = _ByRow(split, places, found.row)
    masked = found.num_supervised == 0
    cut = (found.num_lost > 0) & ~masked
    if len(masked) and masked.all():
        yield by_row.finding("everything_masked", masked, _nothing_learned(found), _UNMASK, level="warning")
    else:
        yield from by_row.told("no_supervised_token", masked, _nothing_learned(found), _UNMASK)
    yield from by_row.told("truncated_answer", cut, "lose the end of an answer to max_length", _LONGER)
    whole = found.num_lost == 0
    yield from by_row.told("no_end_token", whole & (found.num_unended > 0), _unended(tokens), _END_IT)
    yield from by_row.told("empty_answer", whole & (found.num_empty > 0), "have an answer that says nothing", _FILL)
    yield from by_row.told("double_bos", found.is_double_bos, "begin with two begin tokens", _ONE_BOS)
    yield from by_row.told_as("duplicate_row", *_repeated(found), places, "repeat another", _ONCE)
    yield from by_row.remark("end_of_turn_token", found.num_ended_turns > 0, *_ended_turns(tokens))
    if len(found.num_supervised) and np.median(found.num_supervised) >= USUAL_ANSWER:
        short = whole & (found.least_content == 1)
        yield from by_row.remark("short_answer", short, "have an answer of one token, where most are longer", _LOOK)


def overlap(train: Scan, train_places: Sequence[str], held_out: Scan, places: Sequence[str]) -> Iterator[Finding]:
    """Yield the rows that are held out and trained on as well."""
    taught = np.flatnonzero(train.num_supervised > 0)
    known, first = np.unique(train.fingerprint[taught], return_index=True)
    at = np.searchsorted(known, held_out.fingerprint)
    at[at == len(known)] = 0
    is_known = known[at] == held_out.fingerprint if len(known) else np.zeros(len(at), np.bool_)
    again = np.flatnonzero(is_known & (held_out.num_supervised > 0))
    origins = train.row[taught[first[at[again]]]] if len(known) else again
    by_row = _ByRow("validation", places, held_out.row)
    yield from by_row.told_as("overlap", again, origins, train_places, "are trained on as well", _HOLD_OUT_OTHERS)


def findings_of_texts(split: Split, rows: Sequence[Row]) -> Iterator[Finding]:
    """Yield the rows whose texts were read in the wrong encoding."""
    shown = [(place, sign) for place, values in rows if (sign := wrongly_decoded(values)) is not None]
    if shown:
        share = len(shown) / len(rows)
        sign, _ = Counter(sign for _, sign in shown).most_common(1)[0]
        what = f"hold text that was read in the wrong encoding, such as {sign!r}"
        places = tuple(place for place, _ in shown)
        yield Finding("wrong_encoding", level_of(share), split, len(shown), share, what, _DECODE, places)


def unmarked_conversations(split: Split, rows: Sequence[Row], found: Scan) -> Iterator[Finding]:
    """Yield the conversations whose template does not mark what the assistant says, and tell what is done instead."""
    places = tuple(place for place, values in rows if "messages" in values)
    if places:
        parts = int((np.unique(found.row, return_counts=True)[1] > 1).sum())
        cut = f"; {parts:,} of them become a sequence for each answer" if parts else ""
        what = f"have a chat template that does not mark the assistant's text, so their answers are looked for{cut}"
        yield Finding(
            "no_assistant_markers", "remark", split, len(places), len(places) / len(rows), what, _MARK, places
        )


def skipped_rows(skipped: Sequence[Skipped], num_read: int) -> Iterator[Finding]:
    """Yield the rows that no sequence was made of, and the reason that most of them share."""
    if skipped:
        reason, times = Counter(row.reason for row in skipped).most_common(1)[0]
        what = f"were skipped, {times:,} of them because: {reason}"
        places = tuple(row.place for row in skipped)
        share = len(skipped) / max(num_read, len(skipped))
        yield Finding("skipped_row", "remark", "train", len(skipped), share, what, _MEND, places)


@dataclass(frozen=True)
class _ByRow:
    """Turn sequences that were found into findings that name their rows; `row` is the row of each sequence."""

    split: Split
    places: Sequence[str]
    row: Numbers

    def told(self, code: str, found: Numbers, what: str, to_do: str) -> Iterator[Finding]:
        if found.any():
            yield self.finding(code, found, what, to_do)

    def remark(self, code: str, found: Numbers, what: str, to_do: str) -> Iterator[Finding]:
        if found.any():
            yield self.finding(code, found, what, to_do, level="remark")

    def finding(self, code: str, found: Numbers, what: str, to_do: str, level: Level | None = None) -> Finding:
        rows = np.unique(self.row[found])
        share = len(rows) / len(np.unique(self.row))
        places = tuple(dict.fromkeys(_named(self.places, rows)))  # a mixture may draw a row more than once
        return Finding(code, level or level_of(share), self.split, len(rows), share, what, to_do, places)

    def told_as(
        self, code: str, found: Numbers, origins: Numbers, origin_places: Sequence[str], what: str, to_do: str
    ) -> Iterator[Finding]:
        """Yield sequences by their indices, each with the row that it repeats; of a row only the first.

        A mixture that draws a row more than once repeats it on purpose, so it is not told that a row repeats itself.
        """
        rows, index = np.unique(self.row[found], return_index=True)
        pairs = zip(_named(self.places, rows), _named(origin_places, origins[index]), strict=True)
        told = [(place, same) for place, same in pairs if place != same or origin_places is not self.places]
        if told:
            share = len(told) / len(np.unique(self.row))
            places, same_as = zip(*told, strict=True)
            yield Finding(code, level_of(share), self.split, len(told), share, what, to_do, places, same_as)


def _named(places: Sequence[str], rows: Numbers) -> tuple[str, ...]:
    return tuple(str(places[row]) for row in rows.tolist())


def _repeated(found: Scan) -> tuple[Numbers, Numbers]:
    """Return the sequences that stood before and are trained on, in order, and the row that each repeats."""
    taught = np.flatnonzero(found.num_supervised > 0)
    _, first, which = np.unique(found.fingerprint[taught], return_index=True, return_inverse=True)
    origins = found.row[taught[first[which]]]
    kept = origins != found.row[taught]
    return taught[kept], origins[kept]


def _nothing_learned(found: Scan) -> str:
    lost = int(((found.num_supervised == 0) & (found.num_lost > 0)).sum())
    why = f", {lost:,} of them because the answer lies beyond max_length" if lost else ""
    return f"have no supervised token, so nothing is learned from them{why}"


def _unended(tokens: SpecialTokens) -> str:
    turn = tokens.end_of_turn_token
    other = f" nor with {turn}, which ends a turn" if turn not in (None, tokens.eos_token) else ""
    return f"have an answer that does not end with the end token {tokens.eos_token}{other}"


def _ended_turns(tokens: SpecialTokens) -> tuple[str, str]:
    turn, end = tokens.end_of_turn_token, tokens.eos_token
    what = f"end their answers with {turn}, which the chat template writes, and not with the end token {end}"
    return what, f"Generation has to stop at it: set eos_token={turn}, or name it in generation_config.json."


_UNMASK = "Raise max_length, or look at the labels, the response_template or the chat template."
_LONGER = "Raise max_length, or shorten the rows; a model learns from them to stop in mid-sentence."
_END_IT = "A model learns from them never to stop: let the chat template or the labels end with it."
_FILL = "A model learns to say nothing: fill them, leave them out, or take a chat template that writes tool calls."
_ONE_BOS = "The tokenizer writes one: take the other out of the texts."
_ONCE = "They count twice: leave them out, unless that is meant."
_LOOK = "Look at them."
_HOLD_OUT_OTHERS = "Their loss says nothing of new rows: hold out others."
_DECODE = "Write the file anew, from its source, as UTF-8."
_MARK = "A template with {% generation %} says it for certain."
_MEND = "Mend them, or leave them out."
