from __future__ import annotations

from typing import Any

import pytest

from benchmarks.published_models import PUBLISHED_MODELS
from tuning.doctor.tiny_copy import tiny_config

LLAMA = PUBLISHED_MODELS["meta-llama/Llama-3.1-8B-Instruct"]


def test_a_copy_has_the_same_architecture_and_small_widths() -> None:
    tiny = tiny_config(LLAMA, 400)
    assert tiny["model_type"] == "llama" and tiny["tie_word_embeddings"] is False
    assert (tiny["vocab_size"], tiny["hidden_size"], tiny["num_hidden_layers"]) == (400, 64, 2)


def test_every_kind_of_layer_stays_once() -> None:
    layers = ["sliding", "sliding", "sliding", "full"] * 8
    tiny = tiny_config({**LLAMA, "layer_types": layers, "no_rope_layers": [1, 1, 1, 0] * 8}, 400)
    assert tiny["layer_types"] == ["sliding", "full"]
    assert tiny["no_rope_layers"] == [1, 0]


def test_layers_that_differ_in_several_ways_all_stay() -> None:
    kinds = {"layer_types": ["a", "a", "b", "b"] * 8, "mlp_layer_types": ["dense", "sparse"] * 16}
    assert tiny_config({**LLAMA, **kinds}, 400)["num_hidden_layers"] == 4


def test_attention_with_a_key_for_each_query_keeps_that() -> None:
    tiny = tiny_config({**LLAMA, "num_key_value_heads": 32}, 400)
    assert tiny["num_key_value_heads"] == tiny["num_attention_heads"]


@pytest.mark.parametrize(("fields", "kept"), [({"bos_token_id": 128000}, None), ({"bos_token_id": 1}, 1)])
def test_ids_that_the_smaller_vocabulary_has_not_are_left_out(fields: dict[str, Any], kept: int | None) -> None:
    assert tiny_config({**LLAMA, **fields}, 400)["bos_token_id"] == kept


def test_what_is_quantized_is_whole_in_the_copy_and_dropout_is_off() -> None:
    tiny = tiny_config({**LLAMA, "quantization_config": {"quant_method": "mxfp4"}, "attn_pdrop": 0.1}, 400)
    assert "quantization_config" not in tiny
    assert (tiny["dtype"], tiny["attn_pdrop"]) == ("float32", 0.0)


def test_the_parts_of_a_model_for_images_are_small_too() -> None:
    tiny = tiny_config(PUBLISHED_MODELS["google/gemma-3-4b-it"], 400)
    assert tiny["text_config"]["layer_types"] == ["sliding_attention", "full_attention"]
    assert tiny["vision_config"]["hidden_size"] == 64


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED_MODELS)
def test_a_copy_of_every_shipped_architecture_is_tiny_and_learns(name: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    full = AutoConfig.for_model(**PUBLISHED_MODELS[name])
    model = AutoModelForCausalLM.from_config(type(full).from_dict(tiny_config(full.to_dict(), 400)))
    ids = torch.arange(12)[None]
    model(input_ids=ids, labels=ids).loss.backward()
    assert model.num_parameters() < 400_000
    assert model.get_input_embeddings().weight.grad is not None
