"""Count the tokens of rows as TRL will make them, with the `tokenizers` library alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tuning.config.ir import IR
from tuning.data.templates import CHATML, chat_template_of, render_chat
from tuning.data.tokenization import num_supervised
from tuning.errors import UserError
from tuning.recommender.model_files import tokenizer_file

MOST_SAMPLED_CHARACTERS = 250_000
"""Characters that are tokenized at most, so that long rows cost no more time than many: about an eighth of a second."""
_BATCH_ROWS = 256


class RowLength(NamedTuple):
    """The length of one row, and of the part that the loss falls on, tokens."""

    tokens: int
    supervised_tokens: int


class Parts(NamedTuple):
    """One row taken apart; without messages it is a plain text that gets one end token."""

    before: str
    supervised: str
    num_messages: int = 0
    num_answers: int = 1


class TemplateTokens(NamedTuple):
    """What a chat template adds: tokens once for a conversation and for each message."""

    once: int
    per_message: int


def token_lengths(ir: IR, rows: Sequence[Mapping[str, Any]], tokenizer: Any = None) -> tuple[RowLength, ...]:
    """Measure converted rows, in TRL's shapes; empty where the tokenizer has no `tokenizer.json`.

    `tokenizer` is what `load_tokenizer` returned; None: it is loaded here. The two parts of a row are counted apart,
    which can differ by a token or two from the row as a whole.
    """
    tokenizer = load_tokenizer(ir) if tokenizer is None else tokenizer
    if tokenizer is None:
        return ()
    tokenized = [_length_of_ids(row) for row in rows if "input_ids" in row]
    parts = list(_within_limit([row for row in rows if "input_ids" not in row]))
    chat = any(part.num_messages for part in parts)
    added = _template_tokens(tokenizer, _chat_template(ir)) if chat else TemplateTokens(0, 0)
    lengths = tokenized
    for start in range(0, len(parts), _BATCH_ROWS):
        batch = parts[start : start + _BATCH_ROWS]
        before = tokenizer.encode_batch_fast([part.before for part in batch], add_special_tokens=not chat)
        supervised = tokenizer.encode_batch_fast([part.supervised for part in batch], add_special_tokens=False)
        lengths += [
            _length(*counted, added) for counted in zip(batch, map(len, before), map(len, supervised), strict=True)
        ]
    return tuple(lengths)


def _length(part: Parts, before: int, supervised: int, added: TemplateTokens) -> RowLength:
    supervised += part.num_answers  # each answer ends with a token that is learned
    if not part.num_messages:
        return RowLength(before + supervised, supervised)
    template = added.once + added.per_message * part.num_messages
    return RowLength(max(before + supervised, before + supervised - part.num_answers + template), supervised)


def _length_of_ids(row: Mapping[str, Any]) -> RowLength:
    """Measure a row that is tokens already."""
    ids = row["input_ids"]
    return RowLength(len(ids), num_supervised(row.get("labels") or ids))


def load_tokenizer(ir: IR) -> Any:
    """Load the `tokenizer.json` of the document's tokenizer; None where there is none that can be read."""
    file = tokenizer_file(ir, "tokenizer.json")
    if file is None:
        return None
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception:  # the library raises bare Exception; loading the tokenizer for training will tell
        return None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _chat_template(ir: IR) -> str:
    given = ir.get("model.chat_template")
    if isinstance(given, str):
        return given
    file = tokenizer_file(ir, "chat_template.jinja") or tokenizer_file(ir, "tokenizer_config.json")
    try:
        return (chat_template_of(file.parent) if file is not None else None) or CHATML
    except (OSError, ValueError):
        return CHATML


def _template_tokens(tokenizer: Any, template: str) -> TemplateTokens:
    """Render two short conversations and see what they have in common; rendering every row would cost seconds."""
    exchange = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "a"}]
    try:
        short, long = (render_chat(template, exchange * turns) for turns in (1, 2))
    except UserError:
        short, long = (render_chat(CHATML, exchange * turns) for turns in (1, 2))
    one, two = (len(tokenizer.encode(text, add_special_tokens=False)) for text in (short, long))
    per_message = max(0, (two - one) // 2 - 1)
    return TemplateTokens(max(0, one - 2 * (per_message + 1)), per_message)


def _within_limit(rows: Sequence[Mapping[str, Any]]) -> Iterator[Parts]:
    characters = 0
    for row in rows:
        part = _parts(row)
        characters += len(part.before) + len(part.supervised)
        yield part
        if characters > MOST_SAMPLED_CHARACTERS:
            return


def _parts(row: Mapping[str, Any]) -> Parts:
    if "text" in row:
        return Parts("", row["text"])
    if "messages" in row:
        return _message_parts(row["messages"], row.get("tools"))
    if isinstance(row["prompt"], str):
        return Parts(row["prompt"], row["completion"])
    return _message_parts([*row["prompt"], *row["completion"]], row.get("tools"))


def _message_parts(messages: Sequence[Mapping[str, Any]], tools: Any) -> Parts:
    answers = [message for message in messages if message["role"] == "assistant"]
    others = [message for message in messages if message["role"] != "assistant"]
    described = [json.dumps(tools, ensure_ascii=False, default=str)] if tools else []
    before = "\n".join([*described, *map(_said, others)])
    return Parts(before, "\n".join(map(_said, answers)), len(messages), len(answers))


def _said(message: Mapping[str, Any]) -> str:
    content, calls = message.get("content") or "", message.get("tool_calls")
    return str(content) + (json.dumps(calls, ensure_ascii=False, default=str) if calls else "")
