from __future__ import annotations

from pathlib import Path

import pytest

from tuning.config.loading import load_ir
from tuning.config.shipped import find_config, named_configs
from tuning.errors import ConfigError, UserError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("lora_finetune/mine.yaml", "full_finetune/mine.yaml", "lora_finetune/own.yaml", "accelerate/ddp.yaml"):
        (tmp_path / "configs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "configs" / name).write_text(f"seed: {len(name)}\n")
    return tmp_path


def test_a_config_of_the_package_is_found_by_its_name(folder: Path) -> None:
    assert find_config("quickstart").name == "quickstart.json"


def test_a_config_of_the_user_is_found_by_its_name(folder: Path) -> None:
    assert find_config("own") == Path("configs/lora_finetune/own.yaml")


def test_a_file_counts_before_a_name(folder: Path) -> None:
    (folder / "own").write_text("{}")
    assert find_config("own") == Path("own")


def test_a_recipe_looks_first_among_its_own_configs(folder: Path) -> None:
    assert find_config("mine", "full_finetune").parent.name == "full_finetune"
    assert find_config("lora_finetune/mine", "full_finetune").parent.name == "lora_finetune"


def test_a_name_that_stands_for_two_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="full_finetune/mine, lora_finetune/mine; say which"):
        find_config("mine")


def test_a_config_of_the_user_counts_before_one_of_the_package_of_the_same_name(folder: Path) -> None:
    (folder / "configs" / "quickstart.yaml").write_text("seed: 1\n")
    assert find_config("quickstart") == Path("configs/quickstart.yaml")


def test_files_of_launchers_are_no_configs(folder: Path) -> None:
    assert "ddp" not in {config.name for config in named_configs()}


def test_an_unknown_name_is_told_with_the_nearest_one(folder: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'quickstart'"):
        load_ir(["quikstart"], environ={})


def test_a_value_of_a_named_config_tells_the_file(folder: Path) -> None:
    assert load_ir(["own"], environ={}).ir.sources == {"training.seed": "file configs/lora_finetune/own.yaml"}
