"""In which shape the rows are."""

from __future__ import annotations

from tuning.config.ir import IR
from tuning.recommender.action import Action, Kind, Recommendation, suggest
from tuning.recommender.facts import Facts
from tuning.recommender.values import by_user

_COLUMN_FIELDS = ("data_formatter_template", "dataset_text_field", "dataset_conversation_field")


class DataFormat(Action):
    """The first known shape whose columns the rows have, the more telling ones first."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Write down what was recognised, unless the user names the column or the template that is used."""
        if facts.data is None or facts.data.format is None or not facts.data.columns:
            return None
        if any(by_user(ir, f"data.{name}") for name in _COLUMN_FIELDS):
            return None
        comment = f"The rows have the columns {', '.join(facts.data.columns)}."
        values = {"data.data_format": facts.data.format}
        return suggest(values, comment, Kind.COMPATIBILITY, "the order of the shapes in tuning/data/formats.py")
