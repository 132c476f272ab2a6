from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tuning.config.building import build_config
from tuning.config.loading import load_mapping
from tuning.control.checks import unusable_rules
from tuning.control.rules import rules_of
from tuning.control.trainer_controller import read_controllers, with_controllers
from tuning.errors import ConfigError

METRICS = [
    {"name": "state", "class": "TrainingState"},
    {"name": "loss", "class": "Loss"},
    {"name": "scores", "class": "EvalMetrics"},
    {"name": "window", "class": "HistoryBasedMetric", "arguments": {"window_size": 5}},
    {"name": "place", "class": "PerProcessState"},
]


def write(folder: Path, document: Any) -> Path:
    file = folder / "controller.yaml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    return file


def controller(rule: Any, **settings: Any) -> dict[str, Any]:
    first = {"name": "mine", "triggers": ["on_log"], "rule": rule, "operations": ["hfcontrols.should_training_stop"]}
    return {"controller_metrics": METRICS, "controllers": [{**first, **settings}]}


def read_one(folder: Path, document: Any) -> dict[str, Any]:
    (rule,) = read_controllers(str(write(folder, document)))
    return rule


def refusal(folder: Path, document: Any) -> str:
    with pytest.raises(ConfigError) as error:
        read_controllers(str(write(folder, document)))
    return str(error.value)


@pytest.mark.parametrize(
    ("rule", "when"),
    [
        ("loss < 1.0", "loss < 1.0"),
        ("loss != None", "len(loss) > 0"),
        ("scores['eval_loss'] > 2 and state['epoch'] > 3", "eval_loss > 2 and epoch > 3"),
        ("window['training_loss']['loss'][-1] > 2.2", "loss[-5:][-1] > 2.2"),
        ("window['loss'][0] < window['loss'][-1]", "loss[-5:][0] < loss[-5:][-1]"),
        ("len(window['training_loss']['loss']) == window['window_size']", "len(loss[-5:]) == 5"),
        ("len(window['metrics']) > 0", "len(eval_loss[-5:]) > 0"),
        ("window['metrics'][-1]['eval_loss'] > 2.2", "eval_loss[-5:][-1] > 2.2"),
        ("window['metrics']['eval_loss'][-1] > 2.2", "eval_loss[-5:][-1] > 2.2"),
        ("state['global_step'] == state['max_steps']", "step == max_steps"),
        ({"rule_str": "loss > 1"}, "loss > 1"),
        ("True", "True"),
    ],
)
def test_conditions_of_the_trainer_controller_are_read(rule: Any, when: str, tmp_path: Path) -> None:
    assert read_one(tmp_path, controller(rule))["when"] == when


def test_older_files_with_hyphens_and_patience_of_an_operation_are_read(tmp_path: Path) -> None:
    document = {
        "controller-metrics": [{"name": "w", "class": "HistoryBasedMetric", "arguments": {"window-size": 2}}],
        "operations": [
            {"name": "patient", "class": "HFControlsWithPatience", "arguments": {"patience-threshold": 3}},
        ],
        "controllers": [
            {
                "name": "c",
                "triggers": ["on_epoch_end"],
                "rule": "w['loss'][-1] > 2",
                "operations": ["patient.should_save"],
            }
        ],
    }
    expected = {"name": "c", "when": "loss[-2:][-1] > 2", "triggers": ["on_epoch_end"], "operations": ["should_save"]}
    assert read_one(tmp_path, document) == {**expected, "patience": 3, "reset_patience": True}


def test_the_patience_of_a_rule_is_read(tmp_path: Path) -> None:
    patience = {"patience_threshold": 2, "mode": "no_reset_on_failure"}
    rule = read_one(tmp_path, controller("loss > 1", patience=patience))
    assert (rule["patience"], rule["reset_patience"]) == (2, False)


def test_an_operation_that_only_logs_leaves_a_rule_that_only_records(tmp_path: Path) -> None:
    document = controller("loss > 1", operations=["told.should_log"])
    document["operations"] = [{"name": "told", "class": "LogControl", "arguments": {"log_format": "{loss}"}}]
    assert read_one(tmp_path, document)["operations"] == []


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (controller("place['rank'] == 0"), "rule mine: at character 1: place differs from one process to another"),
        (
            controller("state['best_metric'] > 0"),
            "of the Trainer's state a rule can read epoch, global_step, max_steps",
        ),
        (controller("window['training_loss']['epoch'][0] > 1"), "of a window a rule can read"),
        (controller("loss >"), "it is no expression"),
        (controller(""), "rule mine: expected a condition"),
        (controller("loss > 1", triggers=["on_prediction_step"]), "expected a list of: on_step_end, on_log"),
        (controller("loss > 1", triggers=None), "expected a list of: on_step_end, on_log"),
        (controller("loss > 1", operations=["hfcontrols.should_stop"]), "there is no such operation"),
        (controller("loss > 1", operations=["other.should_save"]), "there is no such operation"),
        (controller("loss > 1", patience=3), "expected an object with patience_threshold"),
        (controller("loss > 1", patience={"patience_threshold": "x"}), "patience_threshold, a whole number"),
        ({"controller_metrics": [{"name": "a", "class": "Los"}]}, "Did you mean 'Loss'?"),
        ({"controlers": []}, "Did you mean 'controllers'"),
        ({"controllers": [3]}, "controllers[0]: got 3"),
        ({"controllers": "mine"}, "controllers: got 'mine'"),
        (["a list"], "expected an object with the key controllers"),
    ],
)
def test_what_has_no_counterpart_is_refused_with_its_rule(document: Any, told: str, tmp_path: Path) -> None:
    found = refusal(tmp_path, document)
    assert told in found
    assert "controller.yaml" in found


def test_what_can_not_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_controllers(str(tmp_path / "none.yaml"))
    (tmp_path / "torn.yaml").write_text("controllers: [")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_controllers(str(tmp_path / "torn.yaml"))


def test_a_condition_of_a_file_cannot_leave_the_language_either(tmp_path: Path) -> None:
    file = write(tmp_path, controller("loss.__class__.__mro__[1].__subclasses__()"))
    loaded = load_mapping({"trainer_controller_config_file": str(file)})
    with pytest.raises(ConfigError, match=r"rules\[0\]\.when: .*rule mine: at character 1: .* not allowed"):
        build_config(with_controllers(loaded.ir), (unusable_rules,), rules=())


def test_the_rules_of_a_file_become_part_of_the_document(tmp_path: Path) -> None:
    file = write(tmp_path, controller("window['loss'][-1] > 2"))
    settings = {"trainer_controller_config_file": str(file), "rules": [{"name": "own", "when": "step > 3"}]}
    ir = with_controllers(load_mapping(settings).ir)
    assert ir.get("trainer_control.trainer_controller_config_file") is None
    assert ir.sources["trainer_control.rules"] == f"file {file} and argument"
    assert [rule.name for rule in rules_of(build_config(ir, (unusable_rules,), rules=()))] == ["mine", "own"]
