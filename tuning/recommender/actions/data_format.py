"""In which shape the rows are."""

from __future__ import annotations

from collections.abc import Sequence

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
        if ir.get("data.datasets") or any(by_user(ir, f"data.{name}") for name in _COLUMN_FIELDS):
            return None
        task = ir.get("data.task_type")
        seen = f"The rows have the columns {', '.join(facts.data.columns)}."
        comment = f"task_type is {task}. {seen}" if task else f"{seen}{_besides(facts.data.format, facts.data.columns)}"
        values = {"data.data_format": facts.data.format}
        return suggest(values, comment, Kind.COMPATIBILITY, "the order of the shapes in tuning/data/formats.py")


def _besides(name: str, columns: Sequence[str]) -> str:
    """Say what else the columns may mean."""
    label = next((column for column in ("category", "label") if column in columns), None)
    if name == "text" and label is not None and "text" in columns:
        return f" All of the text is learned; with task_type=classification, {label} would be."
    return " They are token ids already." if name == "pretokenized" else ""
