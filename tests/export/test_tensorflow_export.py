from __future__ import annotations

from pathlib import Path

import pytest
from tiny_families import MakeModel

from tuning.errors import UserError
from tuning.export.exporter import Options
from tuning.export.exporting import export_model
from tuning.export.source import find_source


def exported(model: Path, folder: Path, kind: str | None = None) -> float:
    found = export_model(find_source(str(model)), "tensorflow", folder / "out", Options(kind)).comparison
    assert (found.top_1, found.same_greedy_text) == (1.0, True)
    return found.max_difference


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama_tied", "gemma2", "phi3", "gpt2"])
def test_what_is_served_says_what_the_merged_model_says(name: str, adapter: MakeModel, tmp_path: Path) -> None:
    pytest.importorskip("tensorflow")
    assert exported(adapter(name), tmp_path) <= 1e-4
    assert (tmp_path / "out" / "saved_model.pb").is_file()
    assert (tmp_path / "out" / "tokenizer.json").is_file()


@pytest.mark.parametrize(
    ("change", "kind", "told"),
    [
        ("", "q8_0", "tensorflow is in 32 bits"),
        ("LlamaForCausalLM", None, "tensorflow takes GPT2LMHeadModel"),
    ],
)
def test_what_cannot_be_served_is_refused_before_anything_is_loaded(
    change: str,
    kind: str | None,
    told: str,
    tiny_config_only_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tuning.export.refusals.missing_extra", lambda exporter: None)
    config = (tiny_config_only_model / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace(change, "MixtralForCausalLM") if change else config)
    with pytest.raises(UserError, match=told):
        exported(tmp_path, tmp_path, kind)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
