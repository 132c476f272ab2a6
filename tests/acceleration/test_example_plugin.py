"""The example package of an acceleration plugin, installed as a user installs it, and the plain Trainer's example."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
IGNORED = shutil.ignore_patterns("__pycache__")
FROZEN = {"plugins": {"training": {"frozen_layers": {"num_layers": 1}}}}


@pytest.fixture(scope="module")
def example_plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the package into a folder of its own."""
    folder = tmp_path_factory.mktemp("frozen_layers")
    source = shutil.copytree(EXAMPLES / "acceleration_plugin", folder / "source", ignore=IGNORED)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(folder / "site"), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "site"


def python(folder: Path, site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(EXAMPLES.parent), str(site)])}
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def test_the_package_acts_in_a_plain_trainer(example_plugin: Path, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "plugins.yaml").write_text(json.dumps(FROZEN))
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": f"Say {each}."}) + "\n" for each in range(32)))
    words = [str(EXAMPLES / "acceleration_trainer.py"), str(tiny_model), "plugins.yaml", "rows.jsonl"]
    done = python(tmp_path, example_plugin, *words)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["plugins"] == {"FrozenLayersPlugin": "0.1.0"} and 0 < told["loss"] < 20


def test_the_package_acts_in_a_run(example_plugin: Path, tiny_model: Path, tmp_path: Path) -> None:
    rows = (json.dumps({"prompt": f"Say {each}: ", "completion": str(each)}) for each in range(32))
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    run = {"model_name_or_path": str(tiny_model), "training_data_path": "rows.jsonl", "output_dir": "out"}
    run |= {"acceleration": FROZEN, "max_steps": 2, "learning_rate": 0.1, "peft_method": "none"}
    (tmp_path / "run.json").write_text(json.dumps(run))
    done = python(tmp_path, example_plugin, "-m", "tuning.sft_trainer", "run.json", "use_cpu=true")
    assert done.returncode == 0, done.stderr
    assert "FrozenLayersPlugin 0.1.0" in done.stderr
    assert "model.layers.0.mlp.up_proj.weight" not in changed(tiny_model, tmp_path / "out" / "model")
    assert "model.layers.1.mlp.up_proj.weight" in changed(tiny_model, tmp_path / "out" / "model")
    events = [json.loads(line) for line in (tmp_path / "out" / "tracking" / "events.jsonl").read_text().splitlines()]
    assert any("acceleration" in json.dumps(event) and "FrozenLayersPlugin" in json.dumps(event) for event in events)


def changed(before: Path, after: Path) -> set[str]:
    """Name the weights that training changed."""
    from safetensors.numpy import load_file

    old: dict[str, Any] = load_file(before / "model.safetensors")
    new: dict[str, Any] = load_file(after / "model.safetensors")
    return {name for name in old if (old[name] != new[name]).any()}


def test_a_wrong_setting_of_the_package_is_told_by_validate(
    example_plugin: Path, tiny_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 8)
    words = ["-m", "tuning.cli", "validate", f"model_name_or_path={tiny_model}", "training_data_path=rows.jsonl"]
    done = python(tmp_path, example_plugin, *words, "output_dir=out", "plugins.training.frozen_layers.num_layer=2")
    assert done.returncode == 1
    assert "frozen_layers.num_layer: got 2 (from command line)" in done.stderr and "'num_layers'" in done.stderr


def test_the_class_is_about_forty_lines() -> None:
    lines = (EXAMPLES / "acceleration_plugin" / "frozen_layers.py").read_text().splitlines()
    assert len([line for line in lines if line.strip()]) <= 40
