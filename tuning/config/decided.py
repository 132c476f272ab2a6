"""What holds for a field that may be left out."""

from __future__ import annotations

from typing import Any

from tuning.config.hf_fields import sft_config_fields
from tuning.config.schema import TuningConfig


def training_value(config: TuningConfig, name: str) -> Any:
    """Return what was decided of a field of `SFTConfig`, else TRL's default."""
    value = getattr(config.training, name)
    return sft_config_fields()[name].default if value is None else value


def seed_of(config: TuningConfig) -> int:
    """Return the seed of a run."""
    return int(training_value(config, "seed"))
