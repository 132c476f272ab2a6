from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tuning.export.shards import opened_source, write_whole_weights
from tuning.sharding.parts import MODEL_PART

pytestmark = pytest.mark.slow


@pytest.fixture
def in_parts(tiny_model: Path, tmp_path: Path) -> Path:
    """Make a checkpoint of the tiny model whose weights are in parts, in the folder of a run."""
    from torch.distributed import checkpoint
    from transformers import AutoModelForCausalLM

    (tmp_path / "manifest.json").write_text(json.dumps({"version": 1}))
    folder = tmp_path / "checkpoint-3"
    shutil.copytree(tiny_model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    state: dict[str, Any] = {"model": AutoModelForCausalLM.from_pretrained(tiny_model).state_dict()}
    checkpoint.save(state, checkpoint_id=str(folder / MODEL_PART), no_dist=True)
    return folder


def test_parts_become_what_transformers_would_have_saved(in_parts: Path, tiny_model: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    write_whole_weights(in_parts, tmp_path / "whole")
    ours, theirs = (AutoModelForCausalLM.from_pretrained(folder) for folder in (tmp_path / "whole", tiny_model))
    assert all(weight.equal(theirs.state_dict()[name]) for name, weight in ours.state_dict().items())


def test_the_run_of_a_checkpoint_in_parts_is_known(in_parts: Path, tmp_path: Path) -> None:
    with opened_source(str(in_parts)) as source:
        assert (source.run_folder, source.architecture) == (in_parts.parent, "LlamaForCausalLM")
        assert (source.weights_folder / "model.safetensors").is_file()
        assert (source.origin, source.name) == (in_parts, f"{tmp_path.name}-checkpoint-3")
    assert not source.weights_folder.exists()
