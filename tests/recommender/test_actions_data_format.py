from __future__ import annotations

import pytest
from made_up_facts import document

from tuning.recommender.actions.data_format import DataFormat
from tuning.recommender.data_facts import DataFacts
from tuning.recommender.facts import Facts


def comment(name: str, columns: tuple[str, ...], **fields: str) -> str:
    made = DataFormat().apply(document(**fields), Facts(data=DataFacts(format=name, columns=columns)))
    assert made is not None
    assert made.patch == {"data": {"data_format": name}}
    return made.comment


def test_the_columns_are_the_reason() -> None:
    assert comment("squad", ("context", "question", "answers")) == (
        "The rows have the columns context, question, answers."
    )


def test_the_task_of_the_user_is_part_of_the_reason() -> None:
    told = comment("solution", ("prompt", "canonical_solution"), data__task_type="code")
    assert told == "task_type is code. The rows have the columns prompt, canonical_solution."


@pytest.mark.parametrize("label", ["label", "category"])
def test_a_label_beside_a_text_is_pointed_out(label: str) -> None:
    told = comment("text", ("text", label))
    assert told.endswith(f"All of the text is learned; with task_type=classification, {label} would be.")


def test_rows_of_token_ids_are_called_so() -> None:
    assert comment("pretokenized", ("input_ids", "labels")).endswith("They are token ids already.")
