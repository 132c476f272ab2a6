from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tuning.config.building import build_config
from tuning.config.loading import load_mapping
from tuning.config.schema import TuningConfig
from tuning.control.state import stopped_by
from tuning.trackers.tracker import Tracker

pytestmark = pytest.mark.slow

STEPS = 8


class Kept(Tracker):
    """Keeps what is recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.metrics: list[tuple[str, int]] = []
        self.params: dict[str, Any] = {}

    def track(self, metric: Any, name: str | None = None, stage: str | None = None, *, step: int | None = None) -> None:
        self.metrics.append((f"{stage}/{name}", step or 0))

    def set_params(self, params: Any, name: str | None = "params") -> None:
        assert name == "trainer_control"
        self.params |= params


def config_of(**control: Any) -> TuningConfig:
    return build_config(load_mapping({"output_dir": "o", **control}).ir, rules=())


def run(
    folder: Path, model: Path, config: TuningConfig, losses: Mapping[int, float] | None = None, **arguments: Any
) -> tuple[Any, Kept]:
    """Train a tiny model; `losses` replace the loss of single steps, `arguments` those of the Trainer."""
    import torch
    from transformers import AutoModelForCausalLM, Trainer, TrainingArguments, set_seed

    from tuning.control.callback import control_callbacks

    class Given(Trainer):
        """Multiplies the loss so that it has the value that a test needs; gradients stay small."""

        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
            loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **kwargs)
            wanted = (losses or {}).get(self.state.global_step + 1) if model.training else None
            if wanted is not None:
                loss = loss * 0.0 + wanted
            return (loss, outputs) if return_outputs else loss

    resume = arguments.pop("resume", None)
    set_seed(0)
    rows = [{"input_ids": torch.arange(4, 12) + n, "labels": torch.arange(4, 12) + n} for n in range(16)]
    chosen = {"max_steps": STEPS, "logging_steps": 1, "save_strategy": "no", "eval_strategy": "steps", "eval_steps": 1}
    args = TrainingArguments(
        output_dir=str(folder), use_cpu=True, report_to=[], disable_tqdm=True, **{**chosen, **arguments}
    )
    tracker = Kept()
    trainer = Given(
        AutoModelForCausalLM.from_pretrained(model),
        args,
        train_dataset=rows,
        eval_dataset=rows[:2],
        callbacks=control_callbacks(config, tracker),
    )
    trainer.train(resume_from_checkpoint=resume)
    trainer.evaluate()
    return trainer.state, tracker


@pytest.mark.parametrize(
    ("control", "losses", "arguments", "name", "stops_at"),
    [
        ({"stop_on_nan": True}, {3: math.nan}, {}, "stop_on_nan", 3),
        ({"early_stopping_patience": 2}, {}, {"learning_rate": 0.0}, "early_stopping", 3),
        (
            {"loss_spike_factor": 3, "loss_spike_window": 3},
            {1: 1.0, 2: 1.0, 3: 1.0, 4: 2.9, 5: 50.0},
            {},
            "loss_spike",
            5,
        ),
        ({"plateau_window": 2}, {1: 4.0, 2: 3.0, 3: 2.0, 4: 2.0, 5: 2.0, 6: 2.0}, {}, "plateau", 6),
        ({"overfit_gap": 1.0}, {1: 9.0, 2: 9.0, 3: 1.0}, {}, "overfit_gap", 3),
        ({"time_budget_minutes": 1e-9}, {}, {}, "time_budget", 1),
        ({"rules": [{"name": "own", "when": "step >= 4 and loss > 0"}]}, {}, {}, "own", 4),
        ({"rules": [{"name": "own", "when": "eval_loss > 0", "patience": 1}]}, {}, {}, "own", 2),
        ({"rules": [{"name": "own", "when": "step > 0", "triggers": ["on_epoch_end"]}]}, {}, {}, "own", 2),
    ],
)
def test_a_rule_stops_a_training(
    control: dict[str, Any],
    losses: dict[int, float],
    arguments: dict[str, Any],
    name: str,
    stops_at: int,
    tiny_model: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", logger="tuning")
    state, tracker = run(tmp_path, tiny_model, config_of(**control), losses, **arguments)
    assert state.global_step == stops_at
    assert tracker.metrics == [(f"control/{name}", stops_at)]
    assert tracker.params[name]["step"] == stops_at
    assert f"step {stops_at}: rule {name}: " in caplog.text


_TWO_PROCESSES = """
import sys, types, torch
from tuning.control.callback import _of_first_rank
rank, store = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
args = types.SimpleNamespace(world_size=2, process_index=rank, device=torch.device("cpu"))
print([_of_first_rank(decision, args) for decision in (rank == 0, rank == 1, True, False)])
torch.distributed.destroy_process_group()
"""


def test_by_the_clock_the_first_process_decides_for_all(project_root: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(project_root), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _TWO_PROCESSES]
    processes = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "store")], env=environment, stdout=-1, text=True)
        for rank in range(2)
    ]
    decided = [process.communicate(timeout=120)[0].strip() for process in processes]
    assert decided == ["[True, False, True, False]"] * 2


def test_rules_that_hold_nowhere_leave_a_training_as_it_is(tiny_model: Path, tmp_path: Path) -> None:
    control = {"stop_on_nan": True, "loss_spike_factor": 100, "early_stopping_patience": STEPS, "token_budget": 10**9}
    state, tracker = run(tmp_path, tiny_model, config_of(**control, time_budget_minutes=60, overfit_gap=100))
    assert state.global_step == STEPS
    assert tracker.metrics == []


def test_the_best_evaluations_are_saved(tiny_model: Path, tmp_path: Path) -> None:
    state, tracker = run(tmp_path, tiny_model, config_of(save_on_improvement=True), learning_rate=1e-3)
    scores = {entry["step"]: entry["eval_loss"] for entry in state.log_history if "eval_loss" in entry}
    best = [step for step, loss in scores.items() if loss < min([math.inf, *(scores[n] for n in range(1, step))])]
    assert best
    assert [step for _, step in tracker.metrics] == best
    assert {path.name for path in tmp_path.glob("checkpoint-*")} == {f"checkpoint-{step}" for step in best}


def test_a_rule_can_ask_for_an_evaluation(tiny_model: Path, tmp_path: Path) -> None:
    rules = [{"name": "look", "when": "step == 3", "operations": ["should_evaluate"]}]
    state, _ = run(tmp_path, tiny_model, config_of(rules=rules), eval_strategy="no")
    assert [entry["step"] for entry in state.log_history if "eval_loss" in entry] == [3, STEPS]


def test_a_run_that_goes_on_counts_on_and_one_that_a_rule_has_ended_is_known(tiny_model: Path, tmp_path: Path) -> None:
    config = config_of(early_stopping_patience=4, rules=[{"name": "own", "when": "loss > 0", "patience": 5}])
    still = {"learning_rate": 0.0, "save_strategy": "steps", "save_steps": 3}
    run(tmp_path, tiny_model, config, max_steps=3, **still)
    assert stopped_by(config, tmp_path / "checkpoint-3") is None
    state, tracker = run(tmp_path, tiny_model, config, **still, resume=str(tmp_path / "checkpoint-3"))
    assert (state.global_step, tracker.metrics) == (5, [("control/early_stopping", 5)])
    ended = tmp_path / "checkpoint-5"
    assert "has not improved" in str(stopped_by(config, ended))
    assert stopped_by(config_of(early_stopping_patience=5), ended) is None
    saved = json.loads((ended / "trainer_state.json").read_text())["stateful_callbacks"]["TrainerControlRules"]
    assert saved["attributes"]["waits"]["own"] == 5
