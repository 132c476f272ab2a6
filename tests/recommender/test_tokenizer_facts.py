from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuning.config.ir import IR
from tuning.recommender.tokenizer_facts import TokenizerFacts, probe_tokenizer


def of(folder: Path, **model: Any) -> TokenizerFacts | None:
    return probe_tokenizer(IR.of({"model": {"model_name_or_path": str(folder), **model}}, "a test"))


def write(folder: Path, name: str, document: Any) -> None:
    (folder / name).write_text(document if isinstance(document, str) else json.dumps(document))


def test_the_special_tokens_are_read_without_the_vocabulary(tiny_config_only_model: Path) -> None:
    facts = of(tiny_config_only_model)
    assert facts is not None
    assert (facts.bos_token, facts.eos_token, facts.pad_token, facts.unk_token) == ("<s>", "</s>", "<pad>", "<unk>")
    assert facts.token_ids == {"<unk>": 0, "<s>": 1, "</s>": 2, "<pad>": 3}
    assert (facts.chat_template, facts.adds_bos_token) == (None, False)


def test_a_folder_without_a_tokenizer_tells_nothing(tmp_path: Path) -> None:
    assert of(tmp_path) is None
    assert probe_tokenizer(IR()) is None


def test_older_files_hold_tokens_as_objects_and_in_a_file_of_their_own(tmp_path: Path) -> None:
    write(tmp_path, "tokenizer_config.json", {"eos_token": {"content": "</s>", "lstrip": False}, "pad_token": None})
    write(tmp_path, "special_tokens_map.json", {"bos_token": "<s>"})
    facts = of(tmp_path)
    assert facts is not None and (facts.bos_token, facts.eos_token, facts.pad_token) == ("<s>", "</s>", None)


@pytest.mark.parametrize(
    ("processor", "adds"),
    [
        (None, False),
        ({"type": "ByteLevel"}, False),
        ({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}]}, True),
        ({"type": "Sequence", "processors": [{"single": [{"SpecialToken": {"id": "<s>"}}]}]}, True),
    ],
)
def test_a_begin_token_that_the_tokenizer_adds_is_seen(tmp_path: Path, processor: Any, adds: bool | None) -> None:
    write(tmp_path, "tokenizer_config.json", {"bos_token": "<s>"})
    write(tmp_path, "tokenizer.json", {"added_tokens": [], "post_processor": processor, "model": {"vocab": {}}})
    facts = of(tmp_path)
    assert facts is not None and facts.adds_bos_token is adds


def test_the_template_is_found_in_all_three_places(tmp_path: Path) -> None:
    write(tmp_path, "tokenizer_config.json", {"chat_template": "in the config"})
    assert (facts := of(tmp_path)) is not None and facts.chat_template == "in the config"
    write(tmp_path, "chat_template.jinja", "in its own file")
    assert (facts := of(tmp_path)) is not None and facts.chat_template == "in its own file"
    write(tmp_path, "mine.jinja", "the user's")
    facts = of(tmp_path, chat_template_path=str(tmp_path / "mine.jinja"))
    assert facts is not None and facts.chat_template == "the user's"


def test_the_tokens_that_end_a_generation_are_named(tmp_path: Path) -> None:
    write(tmp_path, "tokenizer_config.json", {"eos_token": "</s>"})
    added = [{"id": 2, "content": "</s>"}, {"id": 7, "content": "<|eot_id|>"}]
    write(tmp_path, "tokenizer.json", {"added_tokens": added})
    write(tmp_path, "generation_config.json", {"eos_token_id": [7]})
    facts = of(tmp_path)
    assert facts is not None and facts.stop_tokens == ("<|eot_id|>",)


@pytest.mark.parametrize(
    "broken", ["", "{", '{"added_tokens": 5}', '{"added_tokens": [5, {"id": "x"}]}', "[" * 100_000]
)
def test_a_broken_tokenizer_file_tells_no_tokens(tmp_path: Path, broken: str) -> None:
    write(tmp_path, "tokenizer_config.json", {"eos_token": "</s>"})
    write(tmp_path, "tokenizer.json", broken)
    facts = of(tmp_path)
    assert facts is not None and facts.token_ids == {}
