"""Tell the scores among a run's results from what was only timed or counted."""

from __future__ import annotations

_ENDINGS = ("_runtime", "_per_second", "_preparation_time", "epoch", "total_flos")


def is_score(name: str) -> bool:
    """Tell from a result's name whether it says how good the model is: two runs of the same seed agree on it."""
    return not name.endswith(_ENDINGS)
