"""Every configuration that ships is valid and trains; the list is the folder itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAUNCHER_FILES = {"accelerate", "acceleration"}
CONFIGS = sorted(
    path
    for path in (ROOT / "configs").rglob("*")
    if path.suffix in (".json", ".yaml", ".yml") and not LAUNCHER_FILES & set(path.relative_to(ROOT).parts)
)


def test_there_are_configurations_to_test() -> None:
    assert ROOT / "configs" / "quickstart.json" in CONFIGS


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_configuration_trains_two_steps(config: Path, tmp_path: Path) -> None:
    overrides = (f"output_dir={tmp_path}", "save_model_dir=null", "max_steps=2", "logging_steps=1", "trackers=none")
    command = [sys.executable, "-m", "tuning.sft_trainer", str(config), *overrides]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "model" / "model.safetensors").exists()
