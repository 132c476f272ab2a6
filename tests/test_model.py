from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tuning.config.building import build_config
from tuning.config.loading import load_mapping
from tuning.config.schema import TuningConfig
from tuning.errors import UserError
from tuning.model import load_model, missing_kernels, unusable_model
from tuning.tokenizer import Additions, load_tokenizer


def config(model: Path, output_dir: Path, **settings: Any) -> TuningConfig:
    required = {"model_name_or_path": str(model), "training_data_path": "d.jsonl", "output_dir": str(output_dir)}
    return build_config(load_mapping({**required, **settings}).ir)


def test_a_folder_without_a_tokenizer_is_told(tiny_config_only_model: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((tiny_config_only_model / "config.json").read_text())
    found = list(unusable_model(config(tmp_path, tmp_path, train_from_scratch=True)))
    assert [problem.path for problem in found] == ["model.tokenizer_name_or_path"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_random_weights(tiny_config_only_model: Path, tmp_path: Path) -> None:
    import torch

    def weights(seed: int) -> torch.Tensor:
        chosen = config(tiny_config_only_model, tmp_path, train_from_scratch=True, seed=seed)
        return next(load_model(chosen, load_tokenizer(chosen)[0], Additions()).parameters())

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


@pytest.mark.slow
def test_new_tokens_grow_the_embeddings_and_are_recorded(tiny_model: Path, tmp_path: Path) -> None:
    chosen = config(tiny_model, tmp_path, add_special_tokens=["<tool>", "<end>"], embedding_size_multiple_of=8)
    tokenizer, additions = load_tokenizer(chosen)
    model: Any = load_model(chosen, tokenizer, additions)
    additions.save(tmp_path)
    record = json.loads((tmp_path / "added_tokens_info.json").read_text())
    assert record["added_tokens"] == ["<tool>", "<end>"]
    assert record["new_embedding_size"] == model.get_input_embeddings().weight.shape[0]
    assert record["new_embedding_size"] % 8 == 0
    assert tokenizer.convert_tokens_to_ids(record["added_tokens"]) == record["new_token_ids"]


@pytest.mark.slow
def test_a_tokenizer_that_pads_with_its_end_token_gets_a_pad_token(tiny_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "tokenizer.json").write_text((tiny_model / "tokenizer.json").read_text())
    names = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "pad_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(names))
    tokenizer, additions = load_tokenizer(config(tiny_model, tmp_path, tokenizer_name_or_path=str(folder)))
    assert (tokenizer.pad_token, additions.pad_token) == ("<pad>", "<pad>")
    assert additions.num_new_tokens == 0  # the vocabulary held one already
    assert additions.chat_template == "ChatML"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "told"),
    [({"eos_token": "<none>"}, "is no token of the tokenizer"), ({"chat_template_path": "no.jinja"}, "cannot read")],
)
def test_what_the_tokenizer_cannot_do_is_refused(tiny_model: Path, tmp_path: Path, settings: Any, told: str) -> None:
    with pytest.raises(UserError, match=told):
        load_tokenizer(config(tiny_model, tmp_path, **settings))


def test_a_kernel_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "liger_kernel", None)
    (problem,) = missing_kernels(config(tmp_path, tmp_path, use_liger_kernel=True))
    assert problem.path == "training.use_liger_kernel" and "pip install liger-kernel" in str(problem.hint)
    assert list(missing_kernels(config(tmp_path, tmp_path))) == []
