"""The help of the main command: every field, grouped, with its meaning, range and default."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo

from tuning.config.field_texts import field_texts
from tuning.config.hf_fields import sft_config_fields
from tuning.config.names import ALIASES
from tuning.config.schema import Training, TuningConfig, sections
from tuning.config.section import Section
from tuning.config.types import describe_field

_USAGE = """\
usage: python -m tuning.sft_trainer [FILE] [key=value …] [--key value …]
       accelerate launch … -m tuning.sft_trainer [FILE] …

Fine-tune a causal language model. FILE is JSON or YAML; settings on the command line win over it. What you leave out
is recommended, with the reason; what nobody decides keeps Hugging Face's default.

  python -m tuning.sft_trainer run.json learning_rate=2e-4 --trackers aim mlflow

A key is written flat (learning_rate) or with its section (training.learning_rate); key=null means undecided again.
Instead of FILE: SFT_TRAINER_CONFIG_JSON_PATH (a file) or SFT_TRAINER_CONFIG_JSON_ENV_VAR (base64 of JSON).
Exit codes: 0 success, 1 your input, 75 stopped on request with a checkpoint, 203 internal fault.
"""


def help_text() -> str:
    """Write the help, wrapped for this terminal."""
    width = min(shutil.get_terminal_size((120, 40)).columns, 120)
    blocks = [_USAGE, *(_group(name, section, width) for name, section in sections().items())]
    objects = (name for name in TuningConfig.model_fields if name not in sections())
    blocks += [f"{name}\n{_entry(name, TuningConfig.model_fields[name], width, TuningConfig)}\n" for name in objects]
    return "\n".join([*blocks, _aliases(width)])


def _group(name: str, section: type[Section], width: int) -> str:
    ours = [field for field in section.__annotations__ if field in section.model_fields]
    theirs = [field for field in section.model_fields if field not in ours]
    lines = [f"{name}: {(section.__doc__ or '').strip()}"]
    lines += [_entry(field, section.model_fields[field], width, section) for field in ours]
    if theirs and section is Training:
        lines.append(f"{name}, the rest of TRL's SFTConfig (its own texts):")
        lines += [_entry(field, section.model_fields[field], width, section) for field in theirs]
    return "\n".join(lines) + "\n"


def _entry(name: str, field: FieldInfo, width: int, section: type[Section]) -> str:
    head = f"  {name}  ({describe_field(field)}{_default(name, field)})"
    text = field_texts().get((section.__name__, name)) or " ".join((field.description or "").split())
    return "\n".join([*textwrap.wrap(head, width, subsequent_indent="      "), *_indented(text, width)])


def _default(name: str, field: FieldInfo) -> str:
    value: Any = field.default
    if value is None and name in Training.model_fields and name in sft_config_fields():
        value = sft_config_fields()[name].default
    return "" if value is None or value == {} else f"; default {value}"


def _indented(text: str, width: int) -> Iterator[str]:
    yield from textwrap.wrap(text, width, initial_indent="      ", subsequent_indent="      ")


def _aliases(width: int) -> str:
    names = ", ".join(f"{old} = {alias.name}" for old, alias in sorted(ALIASES.items()))
    return "\n".join(["other names that are understood:", *_indented(names, width)])
