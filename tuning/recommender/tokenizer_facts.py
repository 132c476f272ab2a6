"""What a tokenizer's files say of its special tokens and its chat template; its vocabulary is not read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tuning.config.ir import IR
from tuning.data.templates import chat_template_of, read_chat_template
from tuning.recommender.model_files import load_json, model_file, tokenizer_file

_MOST_CHARACTERS = 8_000_000
"""Characters of tokenizer.json that are looked at. Source: Gemma's 6,400 special tokens take one million."""


@dataclass(frozen=True)
class TokenizerFacts:
    """A tokenizer, as far as its files tell.

    `token_ids` are the ids of the tokens that stand outside the vocabulary of text: control tokens and reserved ones.
    `stop_tokens` end a generation, by the model's generation_config.json. `adds_bos_token`: it starts a text with the
    begin token by itself. `chat_template` is that of `model.chat_template_path` where there is one, else its own.
    """

    chat_template: str | None = None
    bos_token: str | None = None
    eos_token: str | None = None
    pad_token: str | None = None
    unk_token: str | None = None
    adds_bos_token: bool | None = None
    token_ids: Mapping[str, int] = field(default_factory=dict, hash=False)
    stop_tokens: tuple[str, ...] = ()


def probe_tokenizer(ir: IR) -> TokenizerFacts | None:
    """Read the facts of the document's tokenizer; None where its files cannot be found."""
    file = tokenizer_file(ir, "tokenizer_config.json")
    config = load_json(file)
    if file is None or config is None:
        return None
    older = load_json(tokenizer_file(ir, "special_tokens_map.json")) or {}
    names = {f"{name}_token": _text(config.get(f"{name}_token") or older.get(f"{name}_token")) for name in _NAMES}
    head = _head(tokenizer_file(ir, "tokenizer.json"))
    token_ids = _token_ids(_member(head, "added_tokens"))
    return TokenizerFacts(
        chat_template=_chat_template(ir, file.parent),
        adds_bos_token=_adds(names["bos_token"], head, config),
        token_ids=token_ids,
        stop_tokens=_stop_tokens(load_json(model_file(ir, "generation_config.json")) or {}, token_ids),
        **names,
    )


_NAMES = ("bos", "eos", "pad", "unk")


def _text(token: Any) -> str | None:
    """Read a token from either of the forms in which it is written."""
    token = token.get("content") if isinstance(token, Mapping) else token
    return token if isinstance(token, str) and token else None


def _chat_template(ir: IR, folder: Path) -> str | None:
    path = ir.get("model.chat_template_path")
    try:
        return read_chat_template(Path(path)) if isinstance(path, str) else _of_folder(ir, folder)
    except (OSError, ValueError):
        return None


def _of_folder(ir: IR, folder: Path) -> str | None:
    beside = tokenizer_file(ir, "chat_template.jinja")  # on the Hub, looking for it is what brings it here
    template = chat_template_of(beside.parent if beside is not None else folder)
    return template if isinstance(template, str) else None


def _head(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        with file.open(encoding="utf-8") as stream:
            return stream.read(_MOST_CHARACTERS)
    except (OSError, ValueError):
        return ""


def _member(text: str, name: str) -> Any:
    """Read one member of a JSON object without the rest of it, which holds the vocabulary; None where it is missing."""
    start = text.find(f'"{name}"')
    colon = text.find(":", start) if start >= 0 else -1
    if colon < 0:
        return None
    value = text[colon + 1 :].lstrip()
    try:
        return json.JSONDecoder().raw_decode(value)[0]
    except (ValueError, RecursionError):
        return None


def _token_ids(added: Any) -> dict[str, int]:
    entries = [entry for entry in added if isinstance(entry, Mapping)] if isinstance(added, list) else []
    pairs = ((entry.get("content"), entry.get("id")) for entry in entries)
    return {token: number for token, number in pairs if isinstance(token, str) and isinstance(number, int)}


def _adds(bos_token: str | None, head: str, config: Mapping[str, Any]) -> bool | None:
    if bos_token is None:
        return False
    if '"post_processor"' in head:
        return bos_token in _inserted(_member(head, "post_processor"))
    return config.get("add_bos_token") if isinstance(config.get("add_bos_token"), bool) else None


def _inserted(node: Any) -> Iterator[str]:
    """Walk the special tokens that a post-processor puts around a single text."""
    if isinstance(node, list):
        for item in node:
            yield from _inserted(item)
    elif isinstance(node, Mapping):
        if isinstance(special := node.get("SpecialToken"), Mapping):
            yield str(special.get("id"))
        for key in ("processors", "single"):
            yield from _inserted(node.get(key))


def _stop_tokens(generation: Mapping[str, Any], token_ids: Mapping[str, int]) -> tuple[str, ...]:
    found = generation.get("eos_token_id")
    stops = found if isinstance(found, list) else [found]
    return tuple(token for token, number in token_ids.items() if number in stops)
