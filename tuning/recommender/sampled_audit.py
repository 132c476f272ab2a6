"""Audit a sample of a document's rows, tokenized as training would, without torch."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tuning.config.building import build_config
from tuning.config.decided import seed_of
from tuning.config.ir import DEFAULT, IR
from tuning.config.schema import TuningConfig
from tuning.data.audit import Audit, Scanned, audit_scanned
from tuning.data.audit_report import special_tokens_of
from tuning.data.audit_tokens import SpecialTokens, scan_rows
from tuning.data.encoding import Encoding
from tuning.data.finding import MOST_PLACES_TOLD
from tuning.data.rows import Rows, load_rows
from tuning.data.sources import Row, Skipped
from tuning.data.tokenization import TokenRow
from tuning.errors import DataError

MOST_AUDITED_ROWS = 2_000
MOST_AUDITED_CHARACTERS = 2_000_000
"""Characters that are tokenized at most, about a second of work."""


@dataclass(frozen=True)
class SampledAudit:
    """An audit of `num_sampled` of the `num_rows` rows that there are, to train on and held out."""

    audit: Audit
    num_sampled: int
    num_rows: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON, with the first places of each finding."""
        rows = {"num_rows": self.num_rows, "num_sampled_rows": self.num_sampled}
        return {**rows, **self.audit.to_dict(MOST_PLACES_TOLD)}

    def lines(self) -> Iterator[str]:
        """Yield what was looked at, then the lines of the audit."""
        few = self.num_sampled < self.num_rows
        yield f"of {self.num_sampled:,} sampled rows of {self.num_rows:,}" if few else f"of all {self.num_rows:,} rows"
        yield from self.audit.lines()
        if not self.audit.findings:
            yield "nothing was found"


def config_of(ir: IR) -> TuningConfig:
    """Make the configuration of a completed document; a run folder may be missing."""
    return build_config(ir if ir.get("training.output_dir") else ir.merge({"training": {"output_dir": "."}}, DEFAULT))


def load_all_rows(config: TuningConfig) -> Rows:
    """Read and convert all rows, parted with the run's seed.

    Raises:
        DataError: the run would refuse them.
    """
    return load_rows(config.data, seed_of(config))


def sampled_audit(rows: Rows, encoding: Encoding, seed: int) -> SampledAudit:
    """Tokenize and audit rows, at most 2,000 to train on and as many held out, chosen by the seed."""
    chosen = replace(rows, train=_sample(rows.train, seed), validation=_sample(rows.validation, seed))
    refused = list(rows.skipped)
    tokens = special_tokens_of(encoding)
    train = _scanned(chosen.train, encoding, tokens, refused)
    validation = _scanned(chosen.validation, encoding, tokens, refused) if chosen.validation else None
    found = audit_scanned(train, validation, tokens, replace(chosen, skipped=refused))
    num_sampled = len(chosen.train) + len(chosen.validation)
    return SampledAudit(found, num_sampled, len(rows.train) + len(rows.validation))


def tokenized(rows: Sequence[Row], encoding: Encoding, refused: list[Skipped]) -> list[TokenRow]:
    """Tokenize rows; those that cannot be are added to `refused`."""

    def refuse(number: int, error: DataError) -> None:
        refused.append(Skipped(rows[number].place, str(error)))

    return list(encoding.token_rows([row.values for row in rows], refuse))


def _scanned(rows: Sequence[Row], encoding: Encoding, tokens: SpecialTokens, refused: list[Skipped]) -> Scanned:
    return Scanned(scan_rows(tokenized(rows, encoding, refused), tokens), [row.place for row in rows])


def _sample(rows: Sequence[Row], seed: int) -> list[Row]:
    if len(rows) > MOST_AUDITED_ROWS:
        rows = [rows[at] for at in sorted(random.Random(seed).sample(range(len(rows)), MOST_AUDITED_ROWS))]
    characters = 0
    for number, row in enumerate(rows):
        characters += len(str(row.values))
        if characters > MOST_AUDITED_CHARACTERS:
            return list(rows[: number + 1])
    return list(rows)
