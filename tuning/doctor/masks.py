"""Whether the loss falls on the answers and on nothing else, read back from the labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tuning.causal_lm import IGNORED_LABEL
from tuning.data.sources import Row
from tuning.data.tokenization import TokenRow
from tuning.doctor.finding import Finding
from tuning.doctor.subject import Subject

_SHORTEST_TOLD = 4
"""Characters below which a text may stand in an answer by chance."""
_MOST_SHOWN = 60


def mask_finding(subject: Subject) -> Finding:
    """Decode what the loss falls on, and compare it with the answers of each row."""
    sequences = subject.sequences()
    wrong = [found for index, row in enumerate(subject.rows) if (found := _wrong(subject, index, row, sequences))]
    name, count = "masks", len(subject.rows)
    if not wrong:
        return Finding(name, "ok", f"the labels of {count} rows decode to their answers alone", difference=0)
    told = f"{len(wrong)} of {count} rows: {wrong[0]}"
    hint = "`tune preview` shows what is learned; see chat_template, response_template and assistant_only_loss."
    return Finding(name, "fault", told, hint, difference=len(wrong))


def answers_and_others(values: Mapping[str, Any], prompts_are_learned: bool) -> tuple[list[str], list[str]]:
    """Return the texts of a converted row that must be learned, in order, and those that must not."""
    if "text" in values:
        return [str(values["text"])], []
    if "messages" in values:
        messages: Sequence[Mapping[str, Any]] = values["messages"]
    elif isinstance(values.get("prompt"), str):
        prompt, completion = str(values["prompt"]), str(values.get("completion", ""))
        return ([prompt, completion], []) if prompts_are_learned else ([completion], [prompt])
    else:
        messages = [*values.get("prompt", ()), *values.get("completion", ())]
    said = [(message.get("role") == "assistant", message.get("content")) for message in messages]
    texts = [(is_answer, text) for is_answer, text in said if isinstance(text, str) and text.strip()]
    if prompts_are_learned:
        return [text for _, text in texts], []
    return [text for is_answer, text in texts if is_answer], [text for is_answer, text in texts if not is_answer]


def misplaced(learned: str, answers: Iterable[str], others: Iterable[str]) -> str | None:
    """Return what is wrong with the text that is learned: an answer that is missing, or a text of others in it."""
    rest, start = "", 0
    for answer in answers:
        wanted = answer.strip()
        place = learned.find(wanted, start)
        if place < 0:
            return f"the answer {_short(wanted)} is not learned"
        rest, start = rest + learned[start:place] + "\n", place + len(wanted)
    rest += learned[start:]
    leaked = (text.strip() for text in others if len(text.strip()) >= _SHORTEST_TOLD)
    found = next((text for text in leaked if text in rest), None)
    return None if found is None else f"{_short(found)} is learned, and is no answer"


def _wrong(subject: Subject, index: int, row: Row, sequences: Sequence[TokenRow]) -> str | None:
    of_row = [found for found in sequences if found.row == index]
    if not of_row or "input_ids" in row.values:
        return None  # what cannot be tokenized is left out of training; rows of tokens bring their own labels
    learned = "\n".join(_decoded(subject, of_row))
    answers, others = answers_and_others(row.values, _prompts_are_learned(subject, row))
    told = misplaced(learned, map(subject_text(subject), answers), map(subject_text(subject), others))
    return None if told is None else f"{row.place}: {told}"


def subject_text(subject: Subject) -> Any:
    """Return the function that brings a text through the tokenizer, which may change it: case, spaces, accents."""

    def through(text: str) -> str:
        ids = subject.tokenizer(text, add_special_tokens=False)["input_ids"]
        return str(subject.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    return through


def _decoded(subject: Subject, sequences: Iterable[TokenRow]) -> Iterator[str]:
    for found in sequences:
        ids = [label for label in found.labels if label != IGNORED_LABEL]
        yield str(subject.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _prompts_are_learned(subject: Subject, row: Row) -> bool:
    is_chat = "messages" in row.values
    encoding = subject.encoding
    return not (encoding.assistant_only_loss if is_chat else encoding.completion_only_loss)


def _short(text: str) -> str:
    return repr(text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…")
