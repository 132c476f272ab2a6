"""The reference of every field, written into docs/configuration.md: `python -m benchmarks.config_reference`.

Our own texts come from the sections' classes; of the fields of TRL's `SFTConfig` that have no text here, the type and
the default are listed, for the releases that are installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from benchmarks.tables import replace_between_marks, table
from tuning.config.field_texts import field_texts
from tuning.config.hf_fields import sft_config_fields
from tuning.config.schema import TuningConfig, sections
from tuning.config.section import Section
from tuning.config.types import describe_field

PAGE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"
OURS, THEIRS = "fields", "trl-fields"
"""Marks in the page: what is written here, and what is Hugging Face's."""


def our_fields() -> str:
    """Write a table for each section, of the fields that have a text here."""
    parts = [part for name, section in sections().items() for part in _section(name, section)]
    objects = [name for name in TuningConfig.model_fields if name not in sections()]
    rows = [_row(name, TuningConfig.model_fields[name], TuningConfig) for name in objects]
    return "\n\n".join([*parts, "### Objects", _table(rows)])


def their_fields() -> str:
    """Write a table of the fields that TRL and transformers add to the section `training`."""
    training = sections()["training"]
    names = sorted(name for name in training.model_fields if ("Training", name) not in field_texts())
    rows = [
        [
            f"`{name}`",
            _escaped(describe_field(training.model_fields[name])),
            _default(sft_config_fields()[name].default),
        ]
        for name in names
    ]
    return f"{releases()}\n\n{table(['field', 'value', 'default'], rows)}"


def releases() -> str:
    """Name the releases that the second table is made with."""
    return f"TRL {version('trl')}, transformers {version('transformers')}:"


def _section(name: str, section: type[Section]) -> Iterator[str]:
    named = [field for field in section.model_fields if (section.__name__, field) in field_texts()]
    yield f"### {name}"
    yield " ".join((section.__doc__ or "").split())
    yield _table([_row(field, section.model_fields[field], section) for field in named])


def _table(rows: list[list[str]]) -> str:
    return table(["field", "value", "default", "meaning"], rows)


def _row(name: str, field: FieldInfo, section: type[Section]) -> list[str]:
    text = field_texts()[section.__name__, name]
    return [f"`{name}`", _escaped(describe_field(field)), _default(field.default), _escaped(text)]


def _default(value: Any) -> str:
    is_plain = isinstance(value, (bool, int, float, str, list)) and value not in ("", [])
    return f"`{str(value).lower() if isinstance(value, bool) else value}`" if is_plain else ""


def _escaped(text: str) -> str:
    """Keep a text in its cell: no bars, and nothing that Markdown would take for HTML."""
    return text.replace("|", "\\|").replace("<", "&lt;")


def main() -> None:
    """Write both tables anew."""
    replace_between_marks(PAGE, OURS, our_fields())
    replace_between_marks(PAGE, THEIRS, their_fields())


if __name__ == "__main__":
    main()
