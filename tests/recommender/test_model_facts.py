from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from made_up_facts import LLAMA_8B, TINY_LLAMA, document, model

from tuning.config.ir import IR
from tuning.recommender.model_facts import probe_model
from tuning.recommender.shape import read_shape

GPT2 = {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257, "n_positions": 1024}
QWEN2_HALF_B = {
    "model_type": "qwen2",
    "hidden_size": 896,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "intermediate_size": 4864,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
}


def write_weights(folder: Path, name: str, **shapes: list[int]) -> None:
    header = json.dumps(
        {key: {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]} for key, shape in shapes.items()}
        | {"__metadata__": {"format": "pt"}}
    ).encode()
    (folder / name).write_bytes(struct.pack("<Q", len(header)) + header)


def folder_with(tmp_path: Path, config: Any) -> IR:
    (tmp_path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return document(model__model_name_or_path=str(tmp_path))


@pytest.mark.parametrize(
    ("config", "num_parameters"),
    [(LLAMA_8B, 8_030_261_248), (GPT2, 124_439_808), (QWEN2_HALF_B, 494_032_768)],
)
def test_the_number_of_parameters_follows_from_the_shape(config: dict[str, Any], num_parameters: int) -> None:
    facts = model(config)
    assert (facts.num_parameters, facts.num_parameters_is_exact, facts.has_weights) == (num_parameters, False, False)


def test_parameters_are_counted_in_the_headers_of_one_file(tmp_path: Path) -> None:
    ir = folder_with(tmp_path, TINY_LLAMA)
    write_weights(tmp_path, "model.safetensors", a=[3, 4], b=[5])
    facts = probe_model(ir)
    assert facts is not None
    assert (facts.num_parameters, facts.num_parameters_is_exact, facts.has_weights) == (17, True, True)


def test_parameters_are_counted_over_all_files_of_an_index(tmp_path: Path) -> None:
    ir = folder_with(tmp_path, TINY_LLAMA)
    write_weights(tmp_path, "one.safetensors", a=[3, 4])
    write_weights(tmp_path, "two.safetensors", b=[5])
    weight_map = {"a": "one.safetensors", "b": "two.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    facts = probe_model(ir)
    assert facts is not None and facts.num_parameters == 17


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 8) + b'{"a":1}'])
def test_weights_that_cannot_be_read_leave_the_formula(tmp_path: Path, content: bytes) -> None:
    ir = folder_with(tmp_path, TINY_LLAMA)
    (tmp_path / "model.safetensors").write_bytes(content)
    facts = probe_model(ir)
    assert facts is not None
    assert (facts.num_parameters, facts.num_parameters_is_exact) == (model(TINY_LLAMA).num_parameters, False)


def test_quantized_weights_are_not_counted_because_they_are_packed(tmp_path: Path) -> None:
    ir = folder_with(tmp_path, {**TINY_LLAMA, "quantization_config": {"quant_method": "gptq"}})
    write_weights(tmp_path, "model.safetensors", a=[1])
    facts = probe_model(ir)
    assert facts is not None
    assert (facts.quantization_method, facts.num_parameters_is_exact) == ("gptq", False)


@pytest.mark.parametrize("config", ["", "not json", "[]", "\udcff" * 0 + "null"])
def test_a_configuration_that_cannot_be_read_leaves_the_model_unknown(tmp_path: Path, config: str) -> None:
    assert probe_model(folder_with(tmp_path, config)) is None


def test_a_configuration_without_sizes_leaves_the_shape_unknown(tmp_path: Path) -> None:
    facts = probe_model(folder_with(tmp_path, {"model_type": "new", "hidden_size": "wide"}))
    assert facts is not None
    assert (facts.model_type, facts.shape, facts.num_parameters) == ("new", None, None)


@pytest.mark.parametrize("name", [None, 7, "", "./nowhere", "/no/such/folder", "a/b/c", "someone/some-model"])
def test_a_model_that_is_not_here_is_unknown(name: Any) -> None:
    assert probe_model(document(model__model_name_or_path=name)) is None


def test_a_model_in_hugging_faces_cache_is_known(tmp_path: Path) -> None:
    repository = tmp_path / "models--someone--some-model"
    (repository / "snapshots" / "abc").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")
    (repository / "snapshots" / "abc" / "config.json").write_text(json.dumps(TINY_LLAMA))
    facts = probe_model(document(model__model_name_or_path="someone/some-model", model__cache_dir=str(tmp_path)))
    assert facts is not None and facts.num_parameters == model(TINY_LLAMA).num_parameters


def test_the_text_part_of_a_larger_configuration_counts() -> None:
    facts = model({"model_type": "vision", "text_config": TINY_LLAMA, "dtype": "bfloat16"})
    assert (facts.model_type, facts.dtype, facts.max_position_embeddings) == ("llama", "bfloat16", 256)


@pytest.mark.parametrize(
    ("config", "names"),
    [
        (TINY_LLAMA, ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]),
        ({**TINY_LLAMA, "num_local_experts": 4}, ["q_proj", "k_proj", "v_proj", "o_proj"]),
        (GPT2, ["c_attn", "c_proj", "c_fc", "c_proj"]),
        ({**TINY_LLAMA, "model_type": "phi"}, ["q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2"]),
    ],
)
def test_the_linear_layers_are_those_of_the_model_type(config: dict[str, Any], names: list[str]) -> None:
    shape = read_shape(config)
    assert shape is not None
    assert [layer.name for layer in shape.linear_layers()] == names


def test_each_expert_has_a_gated_mlp() -> None:
    one, two = (read_shape({**TINY_LLAMA, "num_experts": count, "moe_intermediate_size": 8}) for count in (1, 2))
    assert one is not None and two is not None
    assert two.num_parameters() - one.num_parameters() == 2 * (3 * 64 * 8 + 64)


@pytest.mark.slow
@pytest.mark.parametrize("config", [TINY_LLAMA, {**GPT2, "n_embd": 64, "n_layer": 2, "n_head": 4}, QWEN2_HALF_B])
def test_the_formula_counts_what_transformers_builds(config: dict[str, Any]) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        built = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))
    assert built.num_parameters() == model(config).num_parameters


@pytest.mark.parametrize(
    ("quantization", "bits"),
    [
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, 8),
        ({"quant_method": "gptq", "bits": 3}, 3),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, 8),
        ({"quant_method": "mxfp4"}, 4),
        ({"quant_method": "new"}, None),
    ],
)
def test_the_bits_of_a_quantized_weight_are_given_or_follow_from_the_method(
    quantization: dict[str, Any], bits: int | None
) -> None:
    assert model({**TINY_LLAMA, "quantization_config": quantization}).quantization_bits == bits
