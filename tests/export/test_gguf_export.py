from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_families import FAMILIES, MakeModel

from tuning.errors import UserError
from tuning.export.exporter import Options
from tuning.export.exporting import Exported, export_model
from tuning.export.gguf_architectures import ARCHITECTURES
from tuning.export.gguf_tensors import Weight, stored, stored_shape
from tuning.export.source import find_source

pytest.importorskip("gguf")


def exported(model: Path, folder: Path, kind: str | None = None) -> Exported:
    return export_model(find_source(str(model)), "gguf", folder / "out", Options(kind))


def said_by(folder: Path) -> dict[str, Any]:
    from gguf import GGUFReader

    return {name: part.contents() for name, part in GGUFReader(folder / "out" / "model.gguf").fields.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_a_file_in_32_bits_says_what_the_model_says(name: str, family: MakeModel, tmp_path: Path) -> None:
    found = exported(family(name), tmp_path).comparison
    assert found.max_difference <= 1e-4
    assert (found.top_1, found.same_greedy_text) == (1.0, True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama_tied", "gpt2", "phi3"])
def test_an_adapter_is_merged_first(name: str, adapter: MakeModel, tmp_path: Path) -> None:
    assert exported(adapter(name, new_tokens=3), tmp_path).comparison.max_difference <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["f16", "bf16", "q8_0", "q5_1", "q4_0"])
def test_smaller_types_are_within_their_bounds(kind: str, family: MakeModel, tmp_path: Path) -> None:
    made = exported(family("llama"), tmp_path, kind)
    told = json.loads((tmp_path / "out" / "export.json").read_text())
    assert made.dtype == kind
    assert 0 < made.comparison.max_difference <= told["allowed_difference"]
    assert told["weights"][kind.upper()] == 16  # every matrix of two layers, the embeddings and the head


@pytest.mark.parametrize("kind", ["Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0"])
@pytest.mark.parametrize("num_rows", [1, 12, 37, 48])
def test_rows_are_quantized_as_gguf_quantizes_each_by_itself(num_rows: int, kind: str) -> None:
    import numpy as np
    import torch
    from gguf import GGMLQuantizationType
    from gguf.quants import quantize

    tensor = torch.randn(num_rows, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    architecture = ARCHITECTURES["LlamaForCausalLM"]
    weight = Weight("blk.0.ffn_up.weight", "model.layers.0.mlp.up_proj.weight", tensor, kind)

    found = stored(weight, architecture, None)

    expected = [quantize(row[None], GGMLQuantizationType[kind]) for row in tensor.float().numpy()]
    np.testing.assert_array_equal(found, np.concatenate(expected))
    assert (found.shape, found.dtype) == stored_shape(weight, architecture)


@pytest.mark.slow
def test_the_positions_of_llama_3_are_in_the_file(family: MakeModel, tmp_path: Path) -> None:
    from gguf import GGUFReader
    from transformers import AutoConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0}
    rope |= {"high_freq_factor": 4.0, "original_max_position_embeddings": 64}
    model = family("llama", rope_parameters=rope)
    exported(model, tmp_path)
    (factors,) = [one for one in GGUFReader(tmp_path / "out/model.gguf").tensors if one.name == "rope_freqs.weight"]
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](AutoConfig.from_pretrained(model), device="cpu")
    plain = [10000.0 ** (-index / 16) for index in range(0, 16, 2)]
    assert list(factors.data) == pytest.approx([one / float(two) for one, two in zip(plain, scaled, strict=True)])


@pytest.mark.slow
def test_the_file_says_what_the_tokenizer_says(family: MakeModel, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    exported(family("llama"), tmp_path)
    tokenizer, said = AutoTokenizer.from_pretrained(family("llama")), said_by(tmp_path)
    assert (said["tokenizer.ggml.model"], said["tokenizer.ggml.pre"]) == ("gpt2", "gpt-2")
    assert said["tokenizer.ggml.tokens"] == tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    assert said["tokenizer.ggml.eos_token_id"] == tokenizer.eos_token_id
    assert not said["tokenizer.ggml.add_bos_token"]


@pytest.mark.slow
def test_mistral_ends_where_its_window_begins(
    family: MakeModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exported(family("mistral"), tmp_path)
    assert said_by(tmp_path)["llama.context_length"] == 128
    assert "readers know no sliding window" in caplog.text


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"architectures": ["MixtralForCausalLM"]}, "gguf takes GPT2LMHeadModel"),
        ({"rope_scaling": {"rope_type": "longrope"}}, "rope_type longrope"),
        ({"hidden_act": "relu"}, "got 'relu'"),
        ({"architectures": ["Qwen3ForCausalLM"], "use_sliding_window": True}, "use_sliding_window"),
        ({"architectures": ["Gemma2ForCausalLM"], "head_dim": 8, "hidden_act": None}, "query_pre_attn_scalar 256"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_gguf_has_no_words_for_is_refused_before_anything_is_loaded(
    changes: dict[str, Any], told: str, tiny_config_only_model: Path, tmp_path: Path
) -> None:
    config = json.loads((tiny_config_only_model / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | changes))
    with pytest.raises(UserError, match=told):
        exported(tmp_path, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_a_type_that_is_none_is_refused_with_the_nearest(tiny_config_only_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Did you mean 'q8_0'"):
        exported(tiny_config_only_model, tmp_path, "q8_o")


def test_every_architecture_has_a_tiny_model() -> None:
    kinds = {config.removesuffix("TextConfig").removesuffix("Config") for config, _ in FAMILIES.values()}
    assert {name.removesuffix("ForCausalLM").removesuffix("LMHeadModel") for name in ARCHITECTURES} == kinds
