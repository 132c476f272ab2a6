"""Folders of finished runs, written on the spot as the trainer writes them; nothing is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tuning.config.ir import merge_patch, nested

SETTINGS: dict[str, Any] = {
    "data.validation_fraction": 0.05,
    "peft.peft_method": "none",
    "training.gradient_accumulation_steps": 2,
    "training.learning_rate": 1e-3,
    "training.num_train_epochs": 3.0,
    "training.per_device_train_batch_size": 8,
    "training.seed": 42,
}


def write_run(folder: Path, model: Path, loss: float | str | None, rows: int = 2000, **settings: Any) -> Path:
    """Write the folder of one run; `training__learning_rate=1e-4` sets `training.learning_rate`."""
    values: dict[str, Any] = {}
    named = {name.replace("__", "."): value for name, value in settings.items()}
    for path, value in {**SETTINGS, "model.model_name_or_path": str(model), **named}.items():
        values = merge_patch(values, nested(path, value))
    (folder / "tracking").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"values": values, "sources": {}}))
    columns = {"prompt": "string", "completion": "string"}
    events: list[dict[str, Any]] = [
        {"type": "run", "name": folder.name, "run_id": f"{folder.name}0123456789"},
        {"type": "params", "name": "data", "values": {"training": {"rows": rows, "sha256": "d", "columns": columns}}},
        {"type": "params", "name": "model", "values": {"name": "m", "path": str(model), "sha256": "m"}},
        {"type": "metrics", "step": 1, "values": {"train/loss": 9.0}},
    ]
    if loss is not None:
        events.append({"type": "metrics", "step": 2, "values": {"final/eval_loss": loss}})
    append(folder, *events, {"type": "state", "state": "finished"})
    return folder


def append(folder: Path, *events: dict[str, Any]) -> None:
    """Append records to a run's log."""
    lines = [json.dumps({"seq": seq, "time": 0.0, **event}, separators=(",", ":")) for seq, event in enumerate(events)]
    with (folder / "tracking" / "events.jsonl").open("a") as log:
        log.write("".join(f"{line}\n" for line in lines))
