"""What a plan says of the rows: the audit of a sample, or why there is none."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tuning.config.decided import seed_of
from tuning.errors import DataError
from tuning.recommender.completion import Completed

if TYPE_CHECKING:
    from tuning.recommender.sampled_audit import SampledAudit

MOST_READ_ROWS = 500_000
"""Rows up to which a plan reads them all to draw its sample: about 6 seconds of one core, and 1 GB of memory. Source:
measured with rows of 300 characters."""


@dataclass(frozen=True)
class PlannedAudit:
    """The audit of a sample; without one, `reason` says why. `is_strict`: its warnings would end the run."""

    sample: SampledAudit | None = None
    reason: str | None = None
    is_strict: bool = False

    def to_dict(self) -> dict[str, Any] | None:
        """Return plain JSON; None without an audit."""
        return None if self.sample is None else self.sample.to_dict()

    def lines(self) -> Iterator[str]:
        """Yield what the audit says."""
        yield from self.sample.lines() if self.sample is not None else ([self.reason] if self.reason else [])

    def refuse(self) -> None:
        """Say of rows that would end the run that they would.

        Raises:
            DataError: with data.audit=fail there are warnings.
        """
        if self.sample is not None and self.is_strict:
            from tuning.data.audit_report import refuse_warnings

            refuse_warnings(self.sample.audit, "fail")


def audit_of(found: Completed) -> PlannedAudit:
    """Audit a sample of the rows, where they stand here and the tokenizer has a `tokenizer.json`."""
    if found.ir.get("data.audit") == "off":
        return PlannedAudit(reason="none, because of data.audit=off")
    if found.facts.data is None or not found.facts.data.num_rows:
        return PlannedAudit()
    if found.facts.data.num_rows > MOST_READ_ROWS:
        return PlannedAudit(
            reason=f"none here, because there are more than {MOST_READ_ROWS:,} rows; the run audits them"
        )
    from tuning.recommender.encoding import encoding_of
    from tuning.recommender.sampled_audit import config_of, load_all_rows, sampled_audit

    encoding = encoding_of(found.ir)
    if encoding is None:
        return PlannedAudit(reason="none here, because the tokenizer has no tokenizer.json")
    config = config_of(found.ir)
    try:
        sample = sampled_audit(load_all_rows(config), encoding, seed_of(config))
    except DataError as error:
        return PlannedAudit(reason=f"none, because the run would refuse the rows: {error}")
    return PlannedAudit(sample, is_strict=config.data.audit == "fail")
