from __future__ import annotations

import json
from pathlib import Path

import pytest

from tuning.config.files import missing_files
from tuning.config.schema import TuningConfig


@pytest.mark.parametrize("field", ["deepspeed", "fsdp_config", "accelerator_config"])
def test_a_file_of_settings_that_is_not_there_is_named(tmp_path: Path, field: str) -> None:
    config = TuningConfig.model_validate({"training": {field: str(tmp_path / "gone.json")}})
    (problem,) = missing_files(config)
    assert (problem.path, problem.expected) == (f"training.{field}", "there is no such file")


def test_settings_and_files_that_are_there_are_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "zero.json"
    file.write_text(json.dumps({"zero_optimization": {"stage": 2}}))
    training = {
        "deepspeed": str(file),
        "fsdp_config": {"fsdp_version": 2},
        "accelerator_config": '{"even_batches": true}',
    }
    assert list(missing_files(TuningConfig.model_validate({"training": training}))) == []
