"""Turn rows of one question, task or text into the text of a prompt and its completion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tuning.data.cells import checked_text, optional_text, text_of
from tuning.errors import DataError


def instruction(row: Mapping[str, Any], answer_column: str = "output") -> dict[str, Any]:
    """Ask for what `instruction` says, of the `input` where there is one."""
    asked = _part("Instruction", text_of(row, "instruction")) + _part("Input", optional_text(row, "input"))
    return {"prompt": f"{asked}### Response:\n", "completion": text_of(row, answer_column)}


def question_answering(row: Mapping[str, Any]) -> dict[str, Any]:
    """Ask a question, about the `context` where there is one."""
    return _answered(optional_text(row, "context"), text_of(row, "question"), text_of(row, "answer"))


def squad(row: Mapping[str, Any]) -> dict[str, Any]:
    """Ask a question whose answers stand in SQuAD's nesting; the first that is not empty is learned."""
    return _answered(optional_text(row, "context"), text_of(row, "question"), _first(row, "answers"))


def ms_marco(row: Mapping[str, Any]) -> dict[str, Any]:
    """Ask a query about its passages; a well-formed answer is learned before a plain one."""
    column = "wellFormedAnswers" if isinstance(row.get("wellFormedAnswers"), list) and row["wellFormedAnswers"] else ""
    passages = _texts(row.get("passages"), "passage_text", "column passages")
    return _answered("\n\n".join(passages), text_of(row, "query"), _first(row, column or "answers"))


def solution(row: Mapping[str, Any]) -> dict[str, Any]:
    """Go on from the head of a function, as in MBPP and HumanEval."""
    return {"prompt": text_of(row, "prompt"), "completion": text_of(row, "canonical_solution")}


def classification(row: Mapping[str, Any], label_column: str) -> dict[str, Any]:
    """Ask for the label of a text."""
    return {"prompt": f"### Text:\n{text_of(row, 'text')}\n\n### Label:\n", "completion": text_of(row, label_column)}


def input_output(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return input and output as they stand."""
    return {"prompt": text_of(row, "input"), "completion": text_of(row, "output")}


def plain_text(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the text."""
    return {"text": text_of(row, "text")}


def context_and_question(context: str, question: str) -> str:
    """Write a question after what it is about, if anything."""
    return f"{_part('Context', context)}### Question:\n{question}"


def _answered(context: str, question: str, answer: str) -> dict[str, Any]:
    return {"prompt": f"{context_and_question(context, question)}\n\n### Answer:\n", "completion": answer}


def _part(title: str, text: str) -> str:
    return f"### {title}:\n{text}\n\n" if text.strip() else ""


def _first(row: Mapping[str, Any], column: str) -> str:
    """Return the first answer that is not empty.

    Raises:
        DataError: there is none, as for a question that SQuAD 2 marks as impossible.
    """
    answer = next((text for text in _texts(row.get(column), "text", f"column {column}") if text.strip()), None)
    if answer is None:
        raise DataError(f"column {column}: holds no answer")
    return answer


def _texts(values: Any, key: str, where: str) -> Iterator[str]:
    """Yield texts from any of the layouts that data sets use: a list of texts, or of objects, or an object of lists."""
    found = values.get(key) if isinstance(values, Mapping) else values
    if not isinstance(found, list):
        raise DataError(f"{where}: expected a list of texts, got {type(found).__name__}")
    for index, value in enumerate(found):
        text = value.get(key) if isinstance(value, Mapping) else value
        yield checked_text(text, f"{where}[{index}]", may_be_empty=True)
