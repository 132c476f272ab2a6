"""What every section of the configuration is: frozen, strict, and read without surprises."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A group of fields; `None` means undecided: recommended where an action knows how, else Hugging Face's default."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        coerce_numbers_to_str=True,
        validate_default=False,
        protected_namespaces=(),
        defer_build=True,
    )
