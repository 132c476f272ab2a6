from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuning.data.dataset_names import dataset_names
from tuning.errors import UserError
from tuning.preparation import prepare
from tuning.sft_trainer import load_config


def named(model: Path, folder: Path, datasets: list[dict[str, Any]]) -> list[str]:
    for name, count in (("a", 3), ("b", 2)):
        rows = [json.dumps({"prompt": f"{number} row 1", "completion": name}) for number in range(count)]
        (folder / f"{name}.jsonl").write_text("\n".join(rows))
    given = {"model_name_or_path": str(model), "output_dir": str(folder / "out"), "train_from_scratch": True}
    given |= {"dataset_prepared_path": str(folder / "kept"), "recommend": False, "validation_fraction": 0}
    config = load_config({**given, "datasets": datasets}).config
    return dataset_names(prepare(config).prepared, config.data)


def test_each_row_is_of_the_dataset_that_read_it(tiny_config_only_model: Path, tmp_path: Path) -> None:
    datasets = [{"name": name, "data_paths": [str(tmp_path / f"{name}.jsonl")]} for name in "ab"]
    assert named(tiny_config_only_model, tmp_path, datasets) == ["a", "a", "a", "b", "b"]


def test_rows_that_may_be_of_either_dataset_are_refused(tiny_config_only_model: Path, tmp_path: Path) -> None:
    datasets = [{"name": name, "data_paths": [str(tmp_path / "a.jsonl")]} for name in "ab"]
    with pytest.raises(UserError, match=r"a\.jsonl is read by a and b"):
        named(tiny_config_only_model, tmp_path, datasets)
