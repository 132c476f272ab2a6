from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.device_runs import DDP, STEPS, WAYS, Way, command, losses, settings
from benchmarks.devices import HEADER, METHODS, Row, content, tried


def test_the_rows_of_an_update_are_the_same_for_any_number_of_processes(tmp_path: Path) -> None:
    given = {number: settings(tmp_path, tmp_path / "run", "full", DDP, number) for number in (1, 2)}
    rows = {
        number * each["per_device_train_batch_size"] * each["gradient_accumulation_steps"]
        for number, each in given.items()
    }
    assert rows == {8}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
@pytest.mark.parametrize("method", METHODS)
def test_the_command_of_a_training_is_valid(way: Way, method: str, tiny_model: Path, tmp_path: Path) -> None:
    from tuning.job import load_config

    (tmp_path / "base").symlink_to(tiny_model)
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps({"text": f"{n} is said."}) for n in range(8)))
    file = Path(command(tmp_path, tmp_path / "run", method, way, 2)[5])
    config = load_config([str(file), "compute.num_processes=2"]).config
    assert (config.peft.peft_method == "lora") == (method == "LoRA")


def test_a_way_whose_package_is_missing_is_no_failure(tmp_path: Path) -> None:
    row = tried(tmp_path, Way("other", package="no_such_package"), "full", tmp_path)
    assert row.is_good
    assert row.shown()[2] == "not tried: no_such_package is not installed"


def test_a_way_that_fails_stands_in_bold(tmp_path: Path) -> None:
    row = tried(tmp_path, DDP, "full", tmp_path)  # there is no model here
    assert not row.is_good
    assert "**DDP**" in row.shown()
    assert "exit code 1" in str(row.cells[2])


def test_losses_are_those_of_the_last_checkpoint(tmp_path: Path) -> None:
    (tmp_path / f"checkpoint-{STEPS}").mkdir()
    state = {"log_history": [{"loss": 2.0}, {"eval_loss": 9.0}, {"loss": 1.5}]}
    (tmp_path / f"checkpoint-{STEPS}" / "trainer_state.json").write_text(json.dumps(state))
    assert losses(tmp_path) == [2.0, 1.5]


def test_the_table_has_a_row_for_each_way() -> None:
    rows = [Row([*range(len(HEADER))], is_good=True)] * 3
    assert content(HEADER, rows, "told").count("\n| ") == 2 + 3
