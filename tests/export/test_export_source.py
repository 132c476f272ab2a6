from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tuning.errors import UserError
from tuning.export.loaded import quantization_of_run
from tuning.export.source import find_source

COMMITS = {"main": "a" * 40, "v1": "b" * 40}


@pytest.fixture
def hub(tiny_config_only_model: Path, tmp_path: Path) -> Path:
    """Make the copy that is kept here of a Hub id with two revisions, which differ in hidden_act."""
    folder = tmp_path / "hub" / "models--org--base"
    for name, commit in COMMITS.items():
        shutil.copytree(tiny_config_only_model, folder / "snapshots" / commit)
        file = folder / "snapshots" / commit / "config.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "hidden_act": f"of {name}"}))
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / name).write_text(commit)
    return folder.parent


@pytest.fixture
def run(hub: Path, tmp_path: Path) -> Path:
    """Make the folder of a run that trained an adapter on a revision of a base from the Hub."""
    (tmp_path / "run" / "model").mkdir(parents=True)
    values = {"model": {"revision": "v1", "cache_dir": str(hub)}}
    adapter = {"peft_type": "LORA", "base_model_name_or_path": "org/base"}
    (tmp_path / "run" / "config.json").write_text(json.dumps({"values": values}))
    (tmp_path / "run" / "manifest.json").write_text("{}")
    (tmp_path / "run" / "model" / "adapter_config.json").write_text(json.dumps(adapter))
    (tmp_path / "run" / "model" / "adapter_model.safetensors").touch()
    return tmp_path / "run"


def test_the_base_is_of_the_revision_that_the_run_trained_on(run: Path, hub: Path) -> None:
    source = find_source(str(run))
    assert source.config["hidden_act"] == "of v1"
    assert source.loading == {"revision": "v1", "cache_dir": str(hub)}


def test_a_base_that_is_named_has_no_revision_of_the_run(run: Path, hub: Path) -> None:
    source = find_source(str(run), "org/base")
    assert source.config["hidden_act"] == "of main"
    assert source.loading == {"cache_dir": str(hub)}


def test_a_checkpoint_is_named_by_its_step(run: Path) -> None:
    shutil.copytree(run / "model", run / "checkpoint-2")
    source = find_source(str(run / "checkpoint-2"))
    assert (source.name, source.checkpoint) == ("run-checkpoint-2", "checkpoint-2")
    assert find_source(str(run)).name == "run"


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"quantization": {"load_in_4bit": True}}, "quantization"),
        ({"acceleration": {"plugins": {"peft": {"quantization": {"bitsandbytes": {}}}}}}, "acceleration"),
        ({"acceleration": {"plugins": {"training": {"fused_ops_and_kernels": {}}}}}, None),
    ],
    ids=["fields", "stanza", "another stanza"],
)
def test_how_the_run_quantized_its_base_is_read_from_fields_and_stanzas(
    values: dict[str, Any], found: str | None, run: Path
) -> None:
    document = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({"values": {**document["values"], **values}}))
    sections = quantization_of_run(find_source(str(run)))
    assert (found in sections) if found else sections == {}


def test_a_base_that_the_run_named_from_another_folder_is_found(
    run: Path, tiny_config_only_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    shutil.copytree(tiny_config_only_model, tmp_path / "started" / "models" / "base")
    (run / "manifest.json").write_text(json.dumps({"environment": {"working_directory": str(tmp_path / "started")}}))
    adapter = {"peft_type": "LORA", "base_model_name_or_path": "models/base"}
    (run / "model" / "adapter_config.json").write_text(json.dumps(adapter))
    (run / "config.json").unlink()
    assert find_source("../run").saved.base == str(tmp_path / "started" / "models" / "base")


def test_a_folder_that_holds_no_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config.json: there is no such file$"):
        find_source(str(tmp_path))
