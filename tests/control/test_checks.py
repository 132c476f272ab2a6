from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tuning.config.building import build_config
from tuning.config.loading import load_mapping
from tuning.control.checks import rules_without_evaluation, unusable_rules
from tuning.errors import ConfigError


def refusal(**control: Any) -> str:
    required = {"model_name_or_path": "m", "training_data_path": "d", "output_dir": "o"}
    loaded = load_mapping({**required, **control})
    with pytest.raises(ConfigError) as error:
        checked = build_config(loaded.ir, (unusable_rules,), loaded.problems)
        build_config(loaded.ir, (rules_without_evaluation,))
        pytest.fail(f"{checked.trainer_control} was taken")
    return str(error.value)


@pytest.mark.parametrize(
    ("control", "told"),
    [
        (
            {"rules": [{"when": "loss > 1"}, {"name": "mine", "when": "lss > 1"}]},
            "trainer_control.rules[1].when: got 'lss > 1' (from argument); rule mine: at character 1: "
            "there is no metric 'lss'. Did you mean 'loss'?",
        ),
        ({"rules": [{"when": "eval_runtime > 1"}]}, "there is no metric 'eval_runtime'"),
        ({"rules": [{"when": "loss > 1", "name": "a"}, {"when": "loss > 2", "name": "a"}]}, "2 rules have the name a"),
        (
            {"rules": [{"when": "eval_loss > 1", "operations": ["should_evaluate"], "triggers": ["on_evaluate"]}]},
            "an evaluation cannot follow from on_evaluate",
        ),
        (
            {"rules": [{"when": "loss > 1", "operations": ["stop"]}]},
            "trainer_control.rules[0].operations[0]: got 'stop'",
        ),
        ({"rules": [{"name": "no condition"}]}, "trainer_control.rules[0].when: got None (from argument); is required"),
        ({"early_stopping_patience": 0}, "expected a whole number, at least 1"),
        ({"loss_spike_factor": 1}, "expected a number, above 0, above 1"),
        ({"early_stopping_patience": 1, "metric_for_best_model": "bleu"}, "There are eval_loss"),
        ({"early_stopping_patience": 1, "eval_strategy": "no"}, "rule early_stopping waits for evaluations"),
        ({"rules": [{"when": "eval_loss > 1"}], "eval_strategy": "no"}, "rule rule_1 waits for evaluations"),
        (
            {"rules": [{"when": "step == 3", "operations": ["should_evaluate"]}], "eval_strategy": "no"},
            "rule rule_1 evaluates, and no rows are held out",
        ),
        ({"early_stoping_patience": 1}, "Did you mean 'early_stopping_patience'"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_with_its_name_and_place(control: dict[str, Any], told: str) -> None:
    assert told in refusal(**control)


def test_rules_are_checked_without_torch_and_transformers(project_root: Path) -> None:
    code = (
        "import sys, tuning.control.checks, tuning.control.trainer_controller, tuning.control.state\n"
        "print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=project_root, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
