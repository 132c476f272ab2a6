"""One conversation of the rows as the chat template renders it, and what the template marks."""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tuning.config.ir import IR
from tuning.data.templates import render_chat
from tuning.errors import UserError
from tuning.recommender.tokenizer_facts import TokenizerFacts

_MARK = re.compile(r"\{%-?\s*generation\s*-?%\}")
_MARKED = "_training.jinja"
_MOST_CHARACTERS = 100


@dataclass(frozen=True)
class ChatRow:
    """How a rendered conversation starts, and how it goes on after what the assistant says last, 100 characters each.

    `end` None: what the assistant says is not found in it, or is nothing.
    """

    start: str
    end: str | None


def render_row(ir: IR, tokenizer: TokenizerFacts | None, example: Mapping[str, Any] | None) -> ChatRow | None:
    """Render a converted conversation with the template that the user or the tokenizer gives.

    None where there is no such template, it refuses this conversation, or the row is none. A template is a program that
    may run for ever, so this belongs where facts are looked for, and not into a rule.
    """
    template = template_of(ir, tokenizer)
    if template is None or tokenizer is None or example is None or not is_chat(example):
        return None
    tokens = {"bos_token": tokenizer.bos_token or "", "eos_token": eos_token_of(ir, tokenizer) or ""}
    turns = _messages(example)
    try:
        text = render_chat(template, turns, **tokens)
    except UserError:
        return None
    said = [str(turn.get("content") or "").strip() for turn in turns if turn["role"] == "assistant"]
    place = text.rfind(said[-1]) if said and said[-1] else -1
    end = text[place + len(said[-1]) :][:_MOST_CHARACTERS] if place >= 0 else None
    return ChatRow(text[:_MOST_CHARACTERS], end)


def is_chat(example: Mapping[str, Any] | None) -> bool:
    """Tell whether a converted row is a conversation."""
    return example is not None and isinstance(example.get("messages", example.get("prompt")), list)


def template_of(ir: IR, tokenizer: TokenizerFacts | None) -> str | None:
    """Return the chat template of the run, as far as it is decided; None where it is not."""
    given = ir.get("model.chat_template")
    return given if isinstance(given, str) else tokenizer.chat_template if tokenizer is not None else None


def eos_token_of(ir: IR, tokenizer: TokenizerFacts | None) -> str | None:
    """Return the end token of the run, as far as it is decided; None where it is not known."""
    given = ir.get("training.eos_token")
    return given if isinstance(given, str) else tokenizer.eos_token if tokenizer is not None else None


def marks_assistant(template: str) -> bool:
    """Tell whether TRL can see in a template what the assistant says.

    Either the template marks it, or TRL has a copy of the template that does, which it then takes.
    """
    return _MARK.search(template) is not None or template in _patched_by_trl()


def _messages(example: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return example["messages"] if "messages" in example else [*example["prompt"], *example["completion"]]


def marked_copy(template: str) -> str:
    """Return the copy that TRL has of a template, the same with marks around the answers; without one, itself."""
    return template if _MARK.search(template) is not None else _patched_by_trl().get(template, template)


@functools.cache
def _patched_by_trl() -> Mapping[str, str]:
    """Read the templates that TRL has marked copies of, and these, from its files: importing it costs seconds."""
    spec = importlib.util.find_spec("trl")
    locations = spec.submodule_search_locations if spec is not None else None
    marked = (Path(locations[0]) / "chat_templates").glob(f"*{_MARKED}") if locations else ()
    pairs = ((file.with_name(file.name.replace(_MARKED, ".jinja")), file) for file in marked)
    return {found.read_text("utf-8"): file.read_text("utf-8") for found, file in pairs if found.is_file()}
