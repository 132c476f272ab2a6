"""The files that the quickstart trains on: reproducible, disjoint, and loadable without weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer

QUICKSTART = Path(__file__).resolve().parent.parent / "examples" / "quickstart"
TEXT = "Zürich opens at 9:05…\n<|im_start|>user\n\ttwo  spaces, 17 €<|im_end|>"


def rows(name: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (QUICKSTART / name).read_text(encoding="utf-8").splitlines()]


def test_the_generator_writes_the_same_rows_and_vocabulary_again(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(QUICKSTART / "generate.py"), str(tmp_path)], check=True)
    for name in ("train.jsonl", "validation.jsonl", "model/config.json", "model/tokenizer_config.json"):
        assert (tmp_path / name).read_bytes() == (QUICKSTART / name).read_bytes()
    again = Tokenizer.from_file(str(tmp_path / "model" / "tokenizer.json"))
    assert again.get_vocab() == Tokenizer.from_file(str(QUICKSTART / "model" / "tokenizer.json")).get_vocab()


def test_no_held_out_question_is_trained_on() -> None:
    trained = {(row["instruction"], row["input"]) for row in rows("train.jsonl")}
    held_out = {(row["instruction"], row["input"]) for row in rows("validation.jsonl")}
    assert (len(trained), len(held_out)) == (1200, 120)
    assert not trained & held_out


def test_the_tokenizer_gives_back_any_text() -> None:
    tokenizer = Tokenizer.from_file(str(QUICKSTART / "model" / "tokenizer.json"))
    assert tokenizer.decode(tokenizer.encode(TEXT).ids, skip_special_tokens=False) == TEXT


def test_the_model_folder_has_no_weights_and_no_chat_template() -> None:
    names = {path.name for path in (QUICKSTART / "model").iterdir()}
    assert names == {"config.json", "tokenizer.json", "tokenizer_config.json"}
    assert "chat_template" not in json.loads((QUICKSTART / "model" / "tokenizer_config.json").read_text())


@pytest.mark.slow
def test_transformers_loads_the_folder() -> None:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(QUICKSTART / "model")
    config = AutoConfig.from_pretrained(QUICKSTART / "model")
    assert tokenizer.decode(tokenizer(TEXT)["input_ids"]) == TEXT
    assert (len(tokenizer), tokenizer.pad_token_id) == (config.vocab_size, config.pad_token_id)
    assert 500_000 < AutoModelForCausalLM.from_config(config).num_parameters() < 3_000_000


def test_the_tiny_model_of_the_tests_has_a_tokenizer_and_no_weights(tiny_config_only_model: Path) -> None:
    assert {path.name for path in tiny_config_only_model.iterdir()} == {
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }


@pytest.mark.slow
def test_the_tiny_model_of_the_tests_loads_and_generates(tiny_model: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(tiny_model), AutoModelForCausalLM.from_pretrained(tiny_model)
    made = model.generate(**tokenizer("The heron", return_tensors="pt"), max_new_tokens=3, pad_token_id=3)
    assert 50_000 < model.num_parameters() < 150_000
    assert made.shape[1] > 2
