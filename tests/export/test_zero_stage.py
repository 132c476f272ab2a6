from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuning.config.building import build_config
from tuning.config.loading import load_mapping
from tuning.export.zero_stage import zero_stage

DOCUMENT = {"zero_optimization": {"stage": 3}}


@pytest.mark.parametrize(
    ("settings", "stage"),
    [
        ({}, None),
        ({"deepspeed": DOCUMENT}, 3),
        ({"deepspeed": json.dumps(DOCUMENT)}, 3),
        ({"deepspeed": "ds.json"}, 3),
        ({"accelerate": {"deepspeed_config": {"zero_stage": 2}}}, 2),
        ({"accelerate": {"deepspeed_config": {"deepspeed_config_file": "ds.json"}}}, 3),
    ],
    ids=str,
)
def test_the_stage_is_read_wherever_it_is_given(
    settings: dict[str, Any], stage: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", raising=False)
    Path("ds.json").write_text(json.dumps(DOCUMENT))
    given = {"model_name_or_path": "m", "training_data_path": "rows.jsonl", "output_dir": "out", **settings}
    assert zero_stage(build_config(load_mapping(given).ir)) == stage


def test_the_stage_of_a_launcher_is_read_from_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_ZERO_STAGE", "3")
    given = {"model_name_or_path": "m", "training_data_path": "rows.jsonl", "output_dir": "out"}
    assert zero_stage(build_config(load_mapping(given).ir)) == 3
