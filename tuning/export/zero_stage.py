"""The stage of DeepSpeed's ZeRO that a configuration asks for."""

from __future__ import annotations

import json
import os
from typing import Any

from tuning.config.schema import TuningConfig
from tuning.config.text_files import read_text

DIVIDES_WEIGHTS = 3
"""The stage in which each process holds a part of every weight, also of a model that one process alone loads."""


def zero_stage(config: TuningConfig) -> Any:
    """Read the stage from `training.deepspeed`, from the section accelerate, or from what `accelerate launch` has set.

    Returns None where there is none; text such as "auto" where the file says that.
    """
    given = config.accelerate.get("deepspeed_config") or {}
    for settings in (dict(config.training)["deepspeed"], given.get("deepspeed_config_file")):
        if settings:
            return (_document(settings).get("zero_optimization") or {}).get("stage")
    stage = given.get("zero_stage") or os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE")
    return int(stage) if isinstance(stage, str) and stage.isdecimal() else stage


def _document(settings: dict[str, Any] | str) -> dict[str, Any]:
    """Read settings that are given as an object, as the text of one, or as the path of a file; empty: unreadable."""
    if isinstance(settings, dict):
        return settings
    try:
        document = json.loads(settings if settings.lstrip().startswith("{") else read_text(settings))
    except (OSError, ValueError, RecursionError):
        return {}  # whoever starts DeepSpeed says what is wrong with the file
    return document if isinstance(document, dict) else {}
