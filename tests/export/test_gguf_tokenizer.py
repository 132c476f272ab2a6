from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuning.export.gguf_tokenizer import (
    BYTE,
    CONTROL,
    NORMAL,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
    unsupported_tokenizer,
    vocabulary_of,
)

LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class Tokenizer:
    """What is read of a tokenizer: its document, and how many tokens it has."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.backend_tokenizer = self
        self.document = document

    def to_str(self) -> str:
        return json.dumps(self.document)

    def __len__(self) -> int:
        return len(self.document["model"]["vocab"]) + len(self.document["added_tokens"])


def byte_level(steps: list[dict[str, Any]]) -> Tokenizer:
    model = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": [["a", "b"]]}
    added = [{"id": 3, "content": "<end>", "special": True}, {"id": 4, "content": "<tool>", "special": False}]
    return Tokenizer({"model": model, "pre_tokenizer": {"pretokenizers": steps}, "added_tokens": added})


def pieces() -> Tokenizer:
    vocab = {"<unk>": 0, "<0x41>": 1, "▁": 2, "a": 3, "▁a": 4, "▁aa": 5}
    model = {"type": "BPE", "byte_fallback": True, "vocab": vocab, "merges": ["▁ a", "▁a a"], "unk_token": "<unk>"}
    return Tokenizer({"model": model, "normalizer": {"type": "Prepend"}, "pre_tokenizer": None, "added_tokens": []})


BYTES = {"type": "ByteLevel"}


@pytest.mark.parametrize(
    ("steps", "name"),
    [
        ([BYTES], "gpt-2"),
        ([{"type": "Digits", "individual_digits": True}, BYTES], "refact"),
        ([{"type": "Split", "pattern": {"Regex": LLAMA_3}}, BYTES | {"use_regex": False}], "llama-bpe"),
        ([{"type": "Split", "pattern": {"Regex": LLAMA_3.replace("{1,3}", "")}}, BYTES], "qwen2"),
    ],
)
def test_the_way_that_text_is_split_has_the_name_that_readers_know(steps: list[dict[str, Any]], name: str) -> None:
    assert vocabulary_of(byte_level(steps), 5).pre == name


def test_an_unknown_way_is_told(caplog: pytest.LogCaptureFixture) -> None:
    steps = [{"type": "Split", "pattern": {"Regex": "x+"}}, BYTES]
    assert vocabulary_of(byte_level(steps), 5).pre == "default"
    assert "in their own way" in caplog.text


def test_rows_without_a_token_get_a_name() -> None:
    found = vocabulary_of(byte_level([BYTES]), 6)
    assert found.tokens == ["a", "b", "ab", "<end>", "<tool>", "[PAD5]"]
    assert found.types == [NORMAL, NORMAL, NORMAL, CONTROL, USER_DEFINED, UNUSED]
    assert found.merges == ["a b"]


def test_more_tokens_than_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="has ids up to 4, and the model's embeddings end at 3"):
        vocabulary_of(byte_level([BYTES]), 4)


def test_an_id_beyond_the_rows_is_refused_where_ids_before_it_are_free() -> None:
    tokenizer = byte_level([BYTES])
    tokenizer.document["added_tokens"][1]["id"] = 9
    with pytest.raises(ValueError, match="has ids up to 9"):
        vocabulary_of(tokenizer, 6)


def test_pieces_are_scored_by_the_order_of_their_merges() -> None:
    found = vocabulary_of(pieces(), 6)
    assert found.model == "llama"
    assert found.types == [UNKNOWN, BYTE, NORMAL, NORMAL, NORMAL, NORMAL]
    assert found.scores[4] > found.scores[5] > found.scores[3]
    assert found.adds_space


def test_a_tokenizer_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"type": "WordPiece"}}))
    (problem,) = unsupported_tokenizer(str(tmp_path))
    assert "got 'WordPiece'" in str(problem)
