"""Checkpoints of a few bytes, made on the spot."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from tuning.checkpoints.marker import mark_whole
from tuning.config.building import build_config
from tuning.config.loading import load_mapping
from tuning.config.schema import TuningConfig

SAFETENSORS = (2).to_bytes(8, "little") + b"{}"
ARCHIVES = ("optimizer.pt", "scheduler.pt", "rng_state.pth")


def made(run_folder: Path, step: int = 3, marked: bool = True, weights: str = "model.safetensors") -> Path:
    """Write a whole checkpoint; without a marker it is as transformers alone writes it."""
    folder = run_folder / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    (folder / weights).write_bytes(SAFETENSORS)
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    for name in ARCHIVES:
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr("data", "1")
    if marked:
        mark_whole(folder)
    return folder


def run_config(output_dir: Path, **settings: Any) -> TuningConfig:
    """Make the configuration of a run in a folder."""
    required = {"model_name_or_path": str(output_dir), "training_data_path": "d.jsonl", "output_dir": str(output_dir)}
    return build_config(load_mapping({**required, **settings}).ir)
