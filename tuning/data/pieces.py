"""Cut a row into the texts that a model reads and those that it learns to write."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tuning.data.templates import ANSWER_BEGINS, ANSWER_ENDS
from tuning.errors import DataError

Messages = Sequence[Mapping[str, Any]]
RenderChat = Callable[[Messages, Any, bool], str]
"""Messages, tools, and whether a prompt for an answer follows, to text; see `chat_renderer`."""
ADD_EOS_TOKEN = "add_eos_token"
"""Key of a converted row that says, where it is false, that its text ends without the end token."""


class Piece(NamedTuple):
    """A part of a row's text, and whether the loss falls on it."""

    text: str
    is_supervised: bool


@dataclass(frozen=True)
class Cutter:
    """How rows become pieces: the end token, the chat template, and which parts are trained on.

    `completion_only_loss` leaves prompts out of the loss, `assistant_only_loss` what others than the assistant say.
    """

    eos_token: str
    render_chat: RenderChat
    completion_only_loss: bool = True
    assistant_only_loss: bool = True

    def cut(self, row: Mapping[str, Any]) -> list[list[Piece]]:
        """Cut one converted row; a conversation that cannot be trained on as one becomes a row for each answer.

        Raises:
            DataError: the chat template refuses the row, or no part of it is an answer.
        """
        if "text" in row:
            return [[Piece(self._ended(row["text"], row), True)]]
        tools = row.get("tools")
        if "messages" in row:
            return self._conversation(row["messages"], tools)
        prompt, completion = row["prompt"], row["completion"]
        if isinstance(prompt, str):
            return [[Piece(prompt, not self.completion_only_loss), Piece(self._ended(completion, row), True)]]
        if len(completion) > 1 and self.completion_only_loss and self.assistant_only_loss:
            messages = [*prompt, *completion]
            return self._answers_apart(messages, tools, self.render_chat(messages, tools, False), len(prompt))
        return [self._exchange(prompt, completion, tools)]

    def is_chat(self, row: Mapping[str, Any]) -> bool:
        """Tell whether the chat template writes this row; it then writes the special tokens, too."""
        return "messages" in row or not isinstance(row.get("prompt", ""), str)

    def _ended(self, text: str, row: Mapping[str, Any]) -> str:
        is_whole = text.endswith(self.eos_token) or row.get(ADD_EOS_TOKEN) is False
        return text if is_whole else text + self.eos_token

    def _exchange(self, prompt: Messages, completion: Messages, tools: Any) -> list[Piece]:
        before = _unmarked(self.render_chat(prompt, tools, True))
        whole = _unmarked(self.render_chat([*prompt, *completion], tools, False))
        length = _common_prefix(before, whole)
        answer = self._up_to_the_end(whole[length:])
        return [Piece(whole[:length], not self.completion_only_loss), *answer]

    def _conversation(self, messages: Messages, tools: Any) -> list[list[Piece]]:
        rendered = self.render_chat(messages, tools, False)
        if not self.assistant_only_loss:
            return [[Piece(_unmarked(rendered), True)]]
        if ANSWER_BEGINS in rendered:
            return [list(_marked_pieces(rendered))]
        return self._answers_apart(messages, tools, rendered, 1)

    def _answers_apart(self, messages: Messages, tools: Any, rendered: str, first: int) -> list[list[Piece]]:
        """Look for the answers from the message `first` on; what stands before it is never an answer."""
        answers = [index for index, message in enumerate(messages) if message["role"] == "assistant" and index >= first]
        if not answers:
            raise DataError("no message of the assistant answers anything, so there is nothing to train on")
        found = self._answers_in_place(messages, tools, _unmarked(rendered), answers)
        return [found] if found is not None else list(self._answer_by_answer(messages, tools, answers))

    def _answers_in_place(
        self, messages: Messages, tools: Any, whole: str, answers: Sequence[int]
    ) -> list[Piece] | None:
        """Find each answer in the whole text; None where the template writes earlier turns in another way."""
        pieces: list[Piece] = []
        done = 0
        for index in answers:
            before = _unmarked(self.render_chat(messages[:index], tools, True))
            through = _unmarked(self.render_chat(messages[: index + 1], tools, False))
            if not (through.startswith(before) and whole.startswith(through) and done <= len(before)):
                return None
            pieces += [Piece(whole[done : len(before)], False), *self._up_to_the_end(through[len(before) :])]
            done = len(through)
        return [*pieces, Piece(whole[done:], False)]

    def _answer_by_answer(self, messages: Messages, tools: Any, answers: Sequence[int]) -> Iterator[list[Piece]]:
        for index in answers:
            yield self._exchange(messages[:index], [messages[index]], tools)

    def _up_to_the_end(self, answer: str) -> list[Piece]:
        """Train on an answer with its end token, and not on the line break that templates write after it."""
        stop = answer.rfind(self.eos_token)
        if stop < 0:
            return [Piece(answer, True)]
        stop += len(self.eos_token)
        return [Piece(answer[:stop], True), Piece(answer[stop:], False)]


def joined(pieces: Iterable[Piece]) -> list[Piece]:
    """Join neighbours of one kind and leave out empty ones, so that no text is cut where nothing changes."""
    found: list[Piece] = []
    for piece in pieces:
        if found and found[-1].is_supervised == piece.is_supervised:
            found[-1] = Piece(found[-1].text + piece.text, piece.is_supervised)
        elif piece.text:
            found.append(piece)
    return found


def _marked_pieces(rendered: str) -> Iterator[Piece]:
    """Split a rendering at the marks that the template's generation blocks leave."""
    before, *parts = rendered.split(ANSWER_BEGINS)
    yield Piece(before, False)
    for part in parts:
        answer, _, after = part.partition(ANSWER_ENDS)
        yield Piece(answer, True)
        yield Piece(after, False)


def _unmarked(rendered: str) -> str:
    return rendered.replace(ANSWER_BEGINS, "").replace(ANSWER_ENDS, "")


def _common_prefix(first: str, second: str) -> int:
    if second.startswith(first):
        return len(first)
    return next(index for index, (one, two) in enumerate(zip(first + "\0", second + "\1", strict=False)) if one != two)
