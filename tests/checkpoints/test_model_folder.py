from __future__ import annotations

from pathlib import Path

import pytest
from accelerate import Accelerator

from tuning.checkpoints.model_folder import fill_whole


def filled(folder: Path, *names: str) -> list[str]:
    with fill_whole(folder, Accelerator(cpu=True)) as draft:
        draft.mkdir(parents=True)
        for name in names:
            (draft / name).write_text("new")
    return sorted(path.name for path in folder.iterdir())


def test_weights_of_an_earlier_model_go_and_other_files_stay(tmp_path: Path) -> None:
    earlier = ["adapter_config.json", "adapter_model.safetensors", "model-00001-of-00002.safetensors", "export.txt"]
    for name in [*earlier, "model.safetensors.index.json", "model.safetensors"]:
        (tmp_path / name).write_text("old")
    assert filled(tmp_path, "config.json", "model.safetensors") == ["config.json", "export.txt", "model.safetensors"]
    assert (tmp_path / "model.safetensors").read_text() == "new"


def test_what_fails_leaves_the_earlier_model_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "adapter_model.safetensors").write_text("old")
    with pytest.raises(RuntimeError), fill_whole(tmp_path, Accelerator(cpu=True)) as draft:
        draft.mkdir(parents=True)
        raise RuntimeError("a fault")
    assert [path.name for path in tmp_path.iterdir()] == ["adapter_model.safetensors"]
