from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tuning.errors import UserError
from tuning.evaluation.generation import Decoding, end_tokens, generate

pytestmark = pytest.mark.slow

PROMPTS = ["Question: what is 12 + 30?", "The heron", "Please write the words in the order of the alphabet.", "A"]


@pytest.fixture(scope="module")
def loaded(tiny_model: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(tiny_model), AutoTokenizer.from_pretrained(tiny_model)


def texts(loaded: tuple[Any, Any], **settings: Any) -> list[list[str]]:
    model, tokenizer = loaded
    return generate(model, tokenizer, [tokenizer(text)["input_ids"] for text in PROMPTS], Decoding(12, **settings))


def test_a_batch_says_what_each_prompt_says_alone(loaded: tuple[Any, Any]) -> None:
    assert texts(loaded, batch_size=4) == texts(loaded, batch_size=3) == texts(loaded, batch_size=1)
    assert len({found[0] for found in texts(loaded)}) > 1


OWN_WAYS: dict[str, dict[str, Any]] = {
    "drawn at random": {"do_sample": True, "temperature": 5.0, "repetition_penalty": 3.0, "num_beams": 2},
    "tokens that are never said": {"suppress_tokens": list(range(4, 300))},
    "words that are never said": {"bad_words_ids": [[token] for token in range(4, 300)]},
    "a last token": {"forced_eos_token_id": 2},
    "a bias": {"sequence_bias": [[[200], 50.0]]},
    "little time": {"max_time": 1e-6},
    "texts that end it": {"stop_strings": ["a"]},
}


@pytest.mark.parametrize("own", OWN_WAYS.values(), ids=OWN_WAYS)
def test_the_models_own_way_to_generate_does_not_count_and_is_left_as_it_is(
    loaded: tuple[Any, Any], own: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import GenerationConfig

    wanted = texts(loaded)
    its_own = GenerationConfig(eos_token_id=2, pad_token_id=3, bos_token_id=1, **own)
    before = its_own.to_dict()
    monkeypatch.setattr(loaded[0], "generation_config", its_own)
    assert texts(loaded) == wanted
    assert loaded[0].generation_config is its_own
    assert its_own.to_dict() == before


def test_every_end_token_ends_a_text(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    text, prompt = max(
        ((found[0], prompt) for found, prompt in zip(texts(loaded), PROMPTS, strict=True)), key=text_length
    )
    second = tokenizer(text)["input_ids"][1]
    named, model.generation_config.eos_token_id = model.generation_config.eos_token_id, [2, second]
    try:
        assert end_tokens(model, tokenizer) == sorted({2, second})
        ended = generate(model, tokenizer, [tokenizer(prompt)["input_ids"]], Decoding(12))[0][0]
    finally:
        model.generation_config.eos_token_id = named
    assert len(ended) < len(text)
    assert text.startswith(ended)


def text_length(pair: tuple[str, str]) -> int:
    return len(pair[0])


def test_several_texts_are_drawn_for_each_prompt(loaded: tuple[Any, Any]) -> None:
    found = texts(loaded, temperature=1.5, num_return_sequences=3, batch_size=2)
    assert [len(one) for one in found] == [3] * len(PROMPTS)
    assert len({text for one in found for text in one}) > len(PROMPTS)


def test_a_model_in_training_goes_on_training(loaded: tuple[Any, Any]) -> None:
    model, _ = loaded
    model.train()
    texts(loaded)
    assert model.training
    model.eval()


def test_a_long_prompt_loses_its_beginning(loaded: tuple[Any, Any]) -> None:
    model, tokenizer = loaded
    long = tokenizer(PROMPTS[0])["input_ids"] * 30
    assert generate(model, tokenizer, [long], Decoding(6)) == generate(model, tokenizer, [long[-250:]], Decoding(6))
    with pytest.raises(UserError, match=r"max_new_tokens: 256 tokens, .* choose at most 255"):
        generate(model, tokenizer, [long], Decoding(256))
