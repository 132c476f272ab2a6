"""Files that a configuration names, beside the model and the data, and that are not there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tuning.config.schema import TuningConfig
from tuning.errors import Problem

_FILES = ("training.deepspeed", "training.fsdp_config", "training.accelerator_config")
"""Fields that hold either settings or the path of a file with them; Hugging Face opens it once torch is imported."""


def missing_files(config: TuningConfig) -> Iterator[Problem]:
    """Name every path that leads to no file."""
    training = dict(config.training)
    for path in _FILES:
        value = training[path.partition(".")[2]]
        if isinstance(value, str) and not value.lstrip().startswith("{") and not Path(value).is_file():
            yield Problem(path, "there is no such file", value, hint="Give the settings themselves, or a file of them.")
