"""Files and folders that a configuration names, beside the model and the data, and that cannot be used."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from tuning.config.schema import TuningConfig
from tuning.config.text_files import read_text
from tuning.errors import Problem

_FILES = ("training.deepspeed", "training.fsdp_config", "training.accelerator_config")
"""Fields that hold either settings or the path of a file with them; Hugging Face opens it once torch is imported."""
_FOLDERS = ("training.output_dir", "training.save_model_dir")


def missing_files(config: TuningConfig) -> Iterator[Problem]:
    """Name every path that leads to no file of settings."""
    training = dict(config.training)
    for path in _FILES:
        value = training[path.partition(".")[2]]
        if isinstance(value, str) and (reason := _why_no_settings(value)) is not None:
            yield Problem(path, reason, value, hint="Give the settings themselves, or a JSON file of them.")


def unusable_folders(config: TuningConfig) -> Iterator[Problem]:
    """Name every folder that is to be written to and cannot be."""
    for path in _FOLDERS:
        value = getattr(config.training, path.partition(".")[2])
        if value is not None and (reason := _why_no_folder(value)) is not None:
            yield Problem(path, reason, value)


def _why_no_settings(value: str) -> str | None:
    is_text = value.lstrip().startswith("{")
    try:
        document = json.loads(value if is_text else read_text(value))
    except FileNotFoundError:
        return "there is no such file"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    except (ValueError, RecursionError) as error:
        return f"is no JSON: {str(error) or 'nested too deeply'}"
    return None if isinstance(document, dict) else "expected an object of settings"


def _why_no_folder(value: str) -> str | None:
    if "\0" in value:
        return "no name of a folder holds a null byte"
    try:
        folder = Path(value).expanduser()
        nearest = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    except OSError as error:
        return f"cannot be a folder: {error.strerror}"
    except RuntimeError:  # the home of a user that is not known
        return "there is no such user"
    if not nearest.is_dir():
        return f"'{nearest}' is no folder"
    return None if os.access(nearest, os.W_OK | os.X_OK) else f"'{nearest}' cannot be written to"
