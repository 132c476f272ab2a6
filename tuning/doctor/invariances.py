"""What must come out equal, measured one after the other on a tiny copy of the model."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping

from tuning.console import hide_progress_bars
from tuning.doctor.accumulation import accumulation_finding
from tuning.doctor.finding import Finding
from tuning.doctor.masks import mask_finding
from tuning.doctor.packing import packing_finding
from tuning.doctor.saving import saving_finding
from tuning.doctor.subject import Subject, quiet
from tuning.errors import first_line

CHECKS: Mapping[str, Callable[[Subject], Finding]] = {
    "masks": mask_finding,
    "accumulation": accumulation_finding,
    "packing": packing_finding,
    "save and load": saving_finding,
}


def invariance_findings(subject: Subject) -> Iterator[Finding]:
    """Measure all of them; one that cannot be measured is a fault, and the others are measured all the same."""
    hide_progress_bars()
    for name, check in CHECKS.items():
        try:
            with quiet("transformers"), quiet("tuning"), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of libraries about one another, where people look for faults
                found = check(subject)
        except Exception as error:
            found = Finding(name, "fault", f"cannot be measured: {type(error).__name__}: {first_line(error)}")
        yield found
