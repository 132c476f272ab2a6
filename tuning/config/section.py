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

    def is_default(self) -> bool:
        """Tell whether no field differs from its default; a comparison with a new section would build its schema."""
        fields = type(self).model_fields.items()
        return all(getattr(self, name) == field.get_default(call_default_factory=True) for name, field in fields)
