from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_families import MakeModel

from tuning.errors import UserError
from tuning.export.exporting import export_model
from tuning.export.source import find_source

pytestmark = pytest.mark.slow

FILE = "adapter_model.safetensors"
EMBEDDINGS = {
    "llama": {"modules_to_save": ["embed_tokens", "lm_head"]},
    "llama_tied": {"modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
}


def exported(adapter: Path, folder: Path) -> Any:
    return export_model(find_source(str(adapter)), "adapter", folder / "out").comparison


def weights_in(file: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(file)


def test_an_adapter_stays_as_it_is(adapter: MakeModel, tmp_path: Path) -> None:
    made = adapter("llama")
    assert exported(made, tmp_path).max_difference <= 1e-5
    before, after = (
        weights_in(made / FILE),
        weights_in(tmp_path / "out" / FILE),
    )
    assert set(before) == set(after)
    assert not (tmp_path / "out" / "new_embeddings.safetensors").exists()


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_embeddings_of_new_tokens_stand_apart(name: str, adapter: MakeModel, tmp_path: Path) -> None:
    made = adapter(name, new_tokens=3, **EMBEDDINGS[name])
    assert exported(made, tmp_path).max_difference <= 1e-5
    new = weights_in(tmp_path / "out" / "new_embeddings.safetensors")
    assert {key: tuple(rows.shape) for key, rows in new.items()} == {
        "input_embeddings": (3, 64),
        "output_embeddings": (3, 64),
    }
    assert not any("embed" in key or "lm_head" in key for key in weights_in(tmp_path / "out" / FILE))
    assert json.loads((tmp_path / "out" / "added_tokens_info.json").read_text())["num_new_tokens"] == 3


def test_changed_embeddings_of_old_tokens_have_no_place_and_are_told(adapter: MakeModel, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    made = adapter("llama", new_tokens=3, **EMBEDDINGS["llama"])
    weights = weights_in(made / FILE)
    for name in weights:
        if "embed_tokens" in name:
            weights[name][:300] += 0.2
    save_file(weights, made / FILE, {"format": "pt"})
    with pytest.raises(UserError, match="the model's old tokens were trained"):
        exported(made, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"use_dora": True}, "use_dora: .*vLLM does not serve it"),
        ({"rank_pattern": {"q_proj": 2}}, "rank_pattern: .*vLLM does not serve it"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights: .*its start changed the base"),
    ],
)
def test_what_vllm_does_not_serve_is_refused(
    fields: dict[str, Any], told: str, adapter: MakeModel, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=f"{told}.*--to torch"):
        exported(adapter("llama", **fields), tmp_path)


def test_a_whole_model_is_no_adapter(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the model is no adapter"):
        exported(tiny_model, tmp_path)
