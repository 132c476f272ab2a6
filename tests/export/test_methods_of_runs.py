"""Runs of methods that change more than LoRA does, exported at their end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "rank"),
    [
        ({"peft_method": "ia3"}, None),
        ({"peft_method": "lora", "r": 4, "init_lora_weights": "pissa"}, 8),
    ],
    ids=["ia3", "pissa"],
)
def test_a_run_of_another_method_is_merged_and_compared(
    settings: dict[str, Any], rank: int | None, tiny_model: Path, tmp_path: Path
) -> None:
    from tuning.sft_trainer import train

    rows = [{"prompt": f"What is {number} + 1?", "completion": f" {number + 1}"} for number in range(20)]
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    given = {"model_name_or_path": str(tiny_model), "training_data_path": str(tmp_path / "rows.jsonl")}
    given |= {"output_dir": str(tmp_path / "run"), "dataset_prepared_path": str(tmp_path / "prepared")}
    done = train({**given, "use_cpu": True, "max_steps": 2, "audit": "off", "export_formats": "torch", **settings})
    told = json.loads((tmp_path / "run" / "export" / "torch" / "export.json").read_text())
    assert told["comparison"]["max_difference"] <= 1e-4
    saved = json.loads((done.model_folder / "adapter_config.json").read_text())
    assert (saved.get("r"), saved.get("init_lora_weights") in (None, True)) == (rank, True)
