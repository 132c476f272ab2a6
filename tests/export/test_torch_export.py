from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_families import MakeModel, make_adapter

from tuning.errors import UserError
from tuning.export.exporter import Options
from tuning.export.exporting import export_model
from tuning.export.source import find_source

pytestmark = pytest.mark.slow

KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "dora": {"use_dora": True},
    "rslora": {"use_rslora": True},
    "alora": {"alora_invocation_tokens": [5, 6]},
    "pissa": {"init_lora_weights": "pissa"},
}


def exported(model: Path, folder: Path, **options: Any) -> Any:
    return export_model(find_source(str(model)), "torch", folder / "out", Options(**options)).comparison


def test_a_merged_alora_is_told_to_act_on_every_token(
    adapter: MakeModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    exported(adapter("llama", alora_invocation_tokens=[5, 6]), tmp_path)
    assert "merged weights act on every token" in caplog.text
    assert "texts that begin with the invocation" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["llama", "llama_tied"])
def test_a_merged_adapter_says_what_base_and_adapter_say(
    name: str, kind: str, adapter: MakeModel, tmp_path: Path
) -> None:
    found = exported(adapter(name, **KINDS[kind]), tmp_path)
    assert found.max_difference <= 1e-4
    assert (found.top_1, found.same_greedy_text) == (1.0, True)


@pytest.mark.parametrize("learnt", ["embeddings", "rows"])
@pytest.mark.parametrize("kind", ["lora", "dora", "alora"])
@pytest.mark.parametrize("is_tied", [False, True], ids=["untied", "tied"])
def test_a_merged_adapter_with_new_tokens_says_what_base_and_adapter_say(
    is_tied: bool, kind: str, learnt: str, family: MakeModel, adapter: MakeModel, tmp_path: Path
) -> None:
    name = "llama_tied" if is_tied else "llama"
    base = json.loads((family(name) / "config.json").read_text())
    rows = [7, base["vocab_size"], base["vocab_size"] + 2]
    whole = {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True}
    if not is_tied:
        whole = {"modules_to_save": ["embed_tokens", "lm_head"]}
    some = {"trainable_token_indices": rows if is_tied else {"embed_tokens": rows, "lm_head": rows}}
    fields = KINDS[kind] | (whole if learnt == "embeddings" else some)
    found = exported(adapter(name, new_tokens=3, **fields), tmp_path)
    assert found.max_difference <= 1e-4
    assert (found.top_1, found.same_greedy_text) == (1.0, True)


def test_new_tokens_are_in_the_merged_model(adapter: MakeModel, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    exported(adapter("llama", new_tokens=3, modules_to_save=["embed_tokens", "lm_head"]), tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert tokenizer.convert_tokens_to_ids("<new2>") == len(tokenizer) - 1
    assert model.config.vocab_size == model.get_input_embeddings().weight.shape[0] == len(tokenizer)


def test_the_base_keeps_its_type(family: MakeModel, tmp_path: Path) -> None:
    found = exported(family("llama", dtype="bfloat16"), tmp_path)
    assert found.max_difference <= 1e-5
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"


@pytest.mark.parametrize("is_adapter", [False, True])
def test_the_generation_configuration_is_the_bases(is_adapter: bool, family: MakeModel, tmp_path: Path) -> None:
    from transformers import GenerationConfig

    model = base = family("llama", bos_token_id=1, eos_token_id=2, pad_token_id=3)
    if is_adapter:
        model = make_adapter(base, 0, {}, tmp_path / "adapter")
    exported(model, tmp_path)
    found, own = (GenerationConfig.from_pretrained(folder).to_diff_dict() for folder in (tmp_path / "out", base))
    assert found == own
    assert found["eos_token_id"] == 2


def test_trained_tokens_of_a_tied_base_in_16_bits_are_merged(family: MakeModel, tmp_path: Path) -> None:
    base = family("llama_tied", dtype="bfloat16")
    adapter = make_adapter(base, 0, {"trainable_token_indices": [5, 7]}, tmp_path / "adapter")
    assert exported(adapter, tmp_path).top_1 >= 0.9


def test_weights_are_divided_by_size(tiny_model: Path, tmp_path: Path) -> None:
    exported(tiny_model, tmp_path, max_shard_size="100KB")
    assert len(list((tmp_path / "out").glob("*.safetensors"))) > 1
    assert (tmp_path / "out" / "generation_config.json").is_file()


def test_a_size_that_is_none_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected a size such as 5GB"):
        exported(tiny_model, tmp_path, max_shard_size="large")


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"peft_type": "PROMPT_TUNING"}, "PROMPT_TUNING adds tokens to each prompt"),
        ({"lora_bias": True}, "lora_bias has no place"),
    ],
    ids=["prompt_tuning", "lora_bias"],
)
def test_what_cannot_be_merged_is_refused_by_name(
    fields: dict[str, Any], told: str, adapter: MakeModel, tmp_path: Path
) -> None:
    folder = adapter("llama")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | fields))
    with pytest.raises(UserError, match=told):
        exported(folder, tmp_path)
