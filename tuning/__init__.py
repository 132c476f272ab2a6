"""Fine-tune Hugging Face causal language models with completed, explained and truthfully tracked runs."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "AccelerationFramework": "tuning.acceleration.framework",
    "AccelerationPlugin": "tuning.acceleration.plugin",
    "Action": "tuning.recommender.action",
    "IR": "tuning.config.ir",
    "Recommendation": "tuning.recommender.action",
    "RuleEngine": "tuning.recommender.engine",
    "Tracker": "tuning.trackers.tracker",
    "TrainResult": "tuning.sft_trainer",
    "TuningConfig": "tuning.config.schema",
    "TuningError": "tuning.errors",
    "load_config": "tuning.job",
    "recommend": "tuning.recommender.engine",
    "train": "tuning.sft_trainer",
}

__all__ = [*_PUBLIC]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import tuning` stays free of torch."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'tuning' has no attribute '{name}'")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return [*sorted(_PUBLIC), "__version__"]
