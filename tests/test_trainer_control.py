"""Rules in a whole run: refused before it starts, carried out while it trains, remembered when it is started again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tuning.cli import main as tune


def write_run(folder: Path, model: Path, **control: Any) -> Path:
    rows = [json.dumps({"prompt": f"Say {number}: ", "completion": str(number)}) for number in range(32)]
    (folder / "rows.jsonl").write_text("\n".join(rows))
    run = {"model_name_or_path": str(model), "training_data_path": str(folder / "rows.jsonl"), "use_cpu": True}
    run |= {"max_steps": 8, "logging_steps": 1, "eval_strategy": "steps", "eval_steps": 1, "learning_rate": 1e-12}
    file = folder / "run.json"
    file.write_text(json.dumps({**run, "output_dir": str(folder / "run"), "trainer_control": control}))
    return file


def train(file: Path) -> str:
    command = [sys.executable, "-m", "tuning.sft_trainer", str(file)]
    done = subprocess.run(command, cwd=file.parent, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("control", "told"),
    [
        (
            {"rules": [{"name": "mine", "when": "loss.real > 1"}]},
            "rule mine: at character 1: an attribute is not allowed",
        ),
        ({"rules": [{"when": "los > 1"}]}, "Did you mean 'loss'?"),
        ({"trainer_controller_config_file": "nowhere.yaml"}, "cannot be read: No such file"),
        ({"early_stoping_patience": 2}, "Did you mean 'early_stopping_patience'"),
    ],
)
def test_wrong_rules_are_refused_before_a_run(
    control: dict[str, Any], told: str, tiny_config_only_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_run(tmp_path, tiny_config_only_model, **control)
    assert tune(["validate", "--config", str(file), "train_from_scratch=true"]) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_rule_ends_a_run_is_recorded_and_still_holds_when_the_run_is_started_again(
    tiny_model: Path, tmp_path: Path
) -> None:
    control = {"early_stopping_patience": 2, "early_stopping_threshold": 0.01}
    file = write_run(tmp_path, tiny_model, **control)
    assert "step 3: rule early_stopping: eval_loss has not improved" in train(file)
    events = [json.loads(line) for line in (tmp_path / "run" / "tracking" / "events.jsonl").read_text().splitlines()]
    assert [each["step"] for each in events if "control/early_stopping" in each.get("values", {})] == [3]
    (told,) = [each["values"] for each in events if each.get("name") == "trainer_control"]
    assert (told["early_stopping"]["step"], events[-1]["state"]) == (3, "finished")
    assert "a rule has ended it (eval_loss has not improved" in train(file)
    assert [path.name for path in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-3"]
