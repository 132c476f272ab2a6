"""Run a shipped configuration here: its model replaced by a tiny one of the same architecture, its rows by a few."""

from __future__ import annotations

import gc
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.published_models import PUBLISHED_MODELS
from tuning.config.ir import IR
from tuning.config.loading import load_ir
from tuning.doctor.tiny_copy import tiny_config

FOR_A_CPU = (
    *("use_cpu=true", "bf16=null", "accelerate=null", "num_nodes=null", "num_gpus_per_node=null"),
    *("max_steps=2", "logging_steps=1", "trackers=none", "save_total_limit=1"),
)
"""What differs between the machine that a configuration is for and this one, and how much of the run is wanted."""


@dataclass(frozen=True)
class Outcome:
    """What became of one configuration; `error` is empty where it was built and ran its two steps."""

    name: str
    model_type: str
    built: bool
    num_steps: int
    seconds: float
    error: str = ""

    @property
    def ran(self) -> bool:
        """Tell whether two steps were trained."""
        return self.num_steps == 2


class TinyModels:
    """Models with random weights in a folder of their own, one for each architecture, made when first asked for."""

    def __init__(self, folder: Path, tokenizer: Path) -> None:
        self.folder = folder
        self.tokenizer = tokenizer

    def of(self, name: str) -> Path:
        """Return the folder of a tiny copy of a published model."""
        folder = self.folder / name.replace("/", "--")
        if not folder.exists():
            self._make(PUBLISHED_MODELS[name], folder)
        return folder

    def _make(self, document: dict[str, Any], folder: Path) -> None:
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        shutil.copytree(self.tokenizer, folder)
        vocab_size = len(json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"])
        config = AutoConfig.for_model(**tiny_config(AutoConfig.for_model(**document).to_dict(), vocab_size))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def model_of(path: Path) -> str:
    """Return the Hub id of the model that a configuration trains."""
    return str(document_of(path).get("model.model_name_or_path"))


def document_of(path: Path) -> IR:
    """Read a configuration alone."""
    return load_ir([str(path)], environ={}).ir


def write_rows(file: Path, count: int = 16) -> Path:
    """Write chat rows of different lengths."""
    rows = (
        {
            "messages": [
                {"role": "user", "content": f"Please write the numbers up to {number}."},
                {"role": "assistant", "content": " ".join(map(str, range(number + 1)))},
            ]
        }
        for number in range(count)
    )
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return file


def outcomes(paths: list[Path], models: TinyModels, folder: Path) -> Iterator[Outcome]:
    """Build and run configurations one after the other in this process.

    What the first one imported is left out of the later collections of garbage, which took a third of the time.
    """
    rows = write_rows(folder / "rows.jsonl")
    try:
        for path in paths:
            yield _outcome(path, models.of(model_of(path)), rows, folder / path.stem)
            gc.freeze()
    finally:
        gc.unfreeze()


def _outcome(path: Path, model: Path, rows: Path, run: Path) -> Outcome:
    from tuning.sft_trainer import load_config, train

    model_type = json.loads((model / "config.json").read_text())["model_type"]
    built, num_steps, error, started = False, 0, "", time.monotonic()
    places = (f"model_name_or_path={model}", f"training_data_path={rows}", f"output_dir={run}")
    try:
        job = load_config([str(path), *places, *FOR_A_CPU])
        built = True
        num_steps = train(job).global_step
    except Exception as found:
        error = f"{type(found).__name__}: {found}"
    return Outcome(path.stem, model_type, built, num_steps, time.monotonic() - started, error)
