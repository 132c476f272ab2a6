"""Find what makes a fine-tune fail without a word: rows that teach nothing, or the wrong thing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from tuning.data.audit_findings import (
    findings_of_texts,
    findings_of_tokens,
    overlap,
    skipped_rows,
    unmarked_conversations,
)
from tuning.data.audit_tokens import Numbers, Scan, SpecialTokens, scan
from tuning.data.finding import Finding
from tuning.data.lengths import Lengths
from tuning.data.rows import Rows
from tuning.data.token_table import TokenTable


@dataclass(frozen=True)
class SplitCounts:
    """How much there is to train on, or to measure on; a conversation may become several sequences."""

    rows: int
    sequences: int
    tokens: int
    supervised_tokens: int
    supervised_share: float
    lengths: Lengths
    supervised_lengths: Lengths

    @classmethod
    def of(cls, found: Scan) -> SplitCounts:
        """Sum up what was counted in each sequence."""
        tokens, supervised = int(found.num_tokens.sum()), int(found.num_supervised.sum())
        return cls(
            rows=len(np.unique(found.row)),
            sequences=len(found.row),
            tokens=tokens,
            supervised_tokens=supervised,
            supervised_share=supervised / max(1, tokens),
            lengths=_lengths(found.num_tokens),
            supervised_lengths=_lengths(found.num_supervised),
        )

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> SplitCounts:
        """Make counts of their plain JSON."""
        lengths = {name: Lengths(**document[name]) for name in ("lengths", "supervised_lengths")}
        return cls(**{**document, **lengths})

    def __str__(self) -> str:
        sequences = f" in {self.sequences:,} sequences" if self.sequences != self.rows else ""
        length = f"length {self.lengths.mean:.1f} on average, {self.lengths.p99:,} at p99, {self.lengths.max:,} at most"
        learned = f"{self.supervised_tokens:,} ({self.supervised_share:.1%}) supervised"
        return f"{self.rows:,} rows{sequences}, {self.tokens:,} tokens, {learned}; {length}"


def _lengths(lengths: Numbers) -> Lengths:
    """Summarise lengths; all is zero where there are none."""
    return Lengths.of(lengths.tolist()) or Lengths(0.0, 0, 0, 0, 0)


@dataclass(frozen=True)
class Audit:
    """What was counted and found."""

    train: SplitCounts
    validation: SplitCounts | None
    findings: tuple[Finding, ...]

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Return the findings that are more than remarks."""
        return tuple(finding for finding in self.findings if finding.level == "warning")

    def to_dict(self, num_places: int | None = None) -> dict[str, Any]:
        """Return plain JSON, with at most so many places for each finding; None: with all."""
        findings = [asdict(finding) for finding in self.findings]
        for finding in findings:
            finding["places"] = list(finding["places"][:num_places])
            finding["same_as"] = list(finding["same_as"][:num_places])
        splits = {"train": asdict(self.train), "validation": asdict(self.validation) if self.validation else None}
        return {**splits, "findings": findings}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Audit:
        """Make an audit of what `to_dict` returned.

        Raises:
            KeyError: a part is missing.
            TypeError: a part is no such part.
        """
        validation = document["validation"]
        return cls(
            SplitCounts.from_dict(document["train"]),
            None if validation is None else SplitCounts.from_dict(validation),
            tuple(Finding.from_dict(found) for found in document["findings"]),
        )

    def lines(self) -> Iterator[str]:
        """Yield a line for each split, and one for each finding."""
        yield f"train: {self.train}"
        if self.validation is not None:
            yield f"validation: {self.validation}"
        yield from (f"{finding.level} {finding}" for finding in self.findings)


class Scanned(NamedTuple):
    """What was counted in a split, and the names of its rows."""

    scan: Scan
    places: Sequence[str]


def audit(train: TokenTable, validation: TokenTable | None, tokens: SpecialTokens, rows: Rows | None = None) -> Audit:
    """Look through tokenized rows, from which nothing was left out yet.

    `rows` are the converted rows that the tables were made of: their texts show a wrong encoding, their shape whether
    the chat template matters, and they hold what was skipped. None: that is not looked at.
    """
    held_out = Scanned(scan(validation.table, tokens), validation.places) if validation is not None else None
    return audit_scanned(Scanned(scan(train.table, tokens), train.places), held_out, tokens, rows)


def audit_scanned(train: Scanned, validation: Scanned | None, tokens: SpecialTokens, rows: Rows | None) -> Audit:
    """Audit what was counted; see `audit`."""
    findings = list(findings_of_tokens("train", train.places, train.scan, tokens))
    if validation is not None:
        findings += findings_of_tokens("validation", validation.places, validation.scan, tokens)
        findings += overlap(train.scan, train.places, validation.scan, validation.places)
    if rows is not None:
        findings += [*findings_of_texts("train", rows.train), *findings_of_texts("validation", rows.validation)]
        findings += skipped_rows(rows.skipped, rows.num_read)
        if not tokens.marks_assistant:
            findings += unmarked_conversations("train", rows.train, train.scan)
    in_order = sorted(findings, key=lambda finding: finding.level == "remark")
    held_out = SplitCounts.of(validation.scan) if validation is not None else None
    return Audit(SplitCounts.of(train.scan), held_out, tuple(in_order))
