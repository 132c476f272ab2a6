"""Malformed models, adapters and checkpoints: refused in one message, and no code in them runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import malformed_checkpoints
import malformed_models
import pytest
from malformed import ROW, Outcome, outcomes

pytestmark = pytest.mark.slow

MODELS = {name: case._replace(words=("run", *case.words)) for name, case in malformed_models.ALL.items()}
ADAPTERS = {f"adapter: {name}": case for name, case in malformed_checkpoints.ADAPTERS.items()}
CHECKPOINTS = malformed_checkpoints.RESUMED
MODELS_AND_ADAPTERS = MODELS | ADAPTERS


@pytest.fixture(scope="module")
def of_models(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    return outcomes(MODELS_AND_ADAPTERS, "tuning.cli:main", tiny_model, tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def of_checkpoints(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Train two steps, and go on from what is made of the first one's checkpoint."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copytree(tiny_model, folder / "model")
    (folder / "rows.jsonl").write_text(ROW * 20)
    settings = {"model_name_or_path": "model", "training_data_path": "rows.jsonl", "output_dir": "run"}
    (folder / "run.json").write_text(json.dumps({**settings, "max_steps": 2, "save_steps": 1, "use_cpu": True}))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, "-m", "tuning.sft_trainer", "run.json"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    work = tmp_path_factory.mktemp("checkpoints")
    return outcomes(CHECKPOINTS, "tuning.sft_trainer:main", folder / "model", work)


def assert_refused(outcome: Outcome, told: str, told_while_loading: bool) -> None:
    assert outcome.code == 1, outcome
    assert told in outcome.err and "Traceback" not in outcome.err
    assert [path for path in outcome.written if "pwned" in path] == []
    assert all(path.startswith("./run") for path in outcome.written) if told_while_loading else not outcome.written


@pytest.mark.parametrize("name", MODELS_AND_ADAPTERS)
def test_a_malformed_model_or_adapter_is_refused(name: str, of_models: dict[str, Outcome]) -> None:
    case = MODELS_AND_ADAPTERS[name]
    assert_refused(of_models[name], case.told, case.told_while_loading)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_malformed_checkpoint_is_not_gone_on_from(name: str, of_checkpoints: dict[str, Outcome]) -> None:
    case = CHECKPOINTS[name]
    assert_refused(of_checkpoints[name], case.told, case.told_while_loading)


def test_weights_are_refused_before_torch_is_imported(of_models: dict[str, Outcome]) -> None:
    assert [name for name in MODELS if name.startswith("weights: ") and of_models[name].heavy] == []
