"""Malformed documents, environments, command lines and rules for `tune run`: each with a part of its one message."""

from __future__ import annotations

import base64
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from malformed import Case, beside, config, field, words


class Canary:
    """What writes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, ("pwned",)


PICKLE = pickle.dumps(Canary())
PATH_VARIABLE, TEXT_VARIABLE = "SFT_TRAINER_CONFIG_JSON_PATH", "SFT_TRAINER_CONFIG_JSON_ENV_VAR"
TOUCH = "__import__('os').mkdir('pwned')"


def encoded(content: str | bytes) -> str:
    """Write base64 as the environment holds it."""
    return base64.b64encode(content if isinstance(content, bytes) else content.encode()).decode()


def variable(name: str, value: str) -> dict[str, Any]:
    """Name no file, and set a variable; `{folder}` in it is the case's folder."""
    return {"words": (), "environment": {name: value}}


def rule(**values: Any) -> tuple[tuple[str, ...], Callable[[Path], Any]]:
    """Make a configuration with one rule."""
    return field(trainer_control={"rules": [values]})


def controllers(text: str) -> tuple[tuple[str, ...], Callable[[Path], Any]]:
    """Make a trainer controller file, and name it."""
    return beside("rules.yaml", text, "trainer_controller_config_file=rules.yaml")


def rules_dir(text: str | bytes) -> tuple[tuple[str, ...], Callable[[Path], Any]]:
    """Make a folder with one file of rules, and name it."""
    return beside("rules/bad.py", text, "rules_dir=rules")


def data_config(text: str | bytes, name: str = "data.yaml") -> tuple[tuple[str, ...], Callable[[Path], Any]]:
    """Make a data config, and name it in the place of the rows."""
    return beside(name, text, "training_data_path=null", f"data_config_path={name}")


def handlers(*listed: Any) -> tuple[tuple[str, ...], Callable[[Path], Any]]:
    """Make a configuration whose rows go through handlers."""
    return field(
        training_data_path=None,
        datasets=[{"name": "first", "data_paths": ["rows.jsonl"], "data_handlers": list(listed)}],
    )


def piped(folder: Path) -> None:
    """Make a pipe that nobody writes to."""
    os.mkfifo(folder / "bad.json")


DOCUMENTS: dict[str, Case] = {
    "a text": Case("expected an object of field names and values, got 'hello'", *config('"hello"')),
    "a number": Case("expected an object of field names and values, got 7", *config("7")),
    "null": Case("expected an object of field names and values, got None", *config("null")),
    "a torn object": Case("bad.json: the document cannot be read", *config('{"seed": 1, "learning_r')),
    "a trailing comma": Case("bad.json: the document cannot be read", *config('{"seed": 1,}')),
    "a comment": Case("bad.json: the document cannot be read", *config('{"seed": 1} // one')),
    "two documents": Case("bad.json: the document cannot be read", *config('{"seed": 1}\n{"seed": 2}')),
    "single quotes": Case("bad.json: the document cannot be read", *config("{'seed': 1}")),
    "a control character": Case("bad.json: the document cannot be read", *config('{"run_name": "a\x01"}')),
    "a pickle": Case("bad.json: the file is not UTF-8", *config(PICKLE)),
    "-Infinity": Case("JSON has no such number", *config('{"learning_rate": -Infinity}')),
    "a key twice in a section": Case("r: got 2", *config('{"peft": {"r": 1, "r": 2}}')),
    "a key in two spellings": Case(
        "training.seed: got 2 (from file bad.json", *config('{"seed": 1, "training": {"seed": 2}}')
    ),
    "a misspelt section": Case("trainning: got {'seed': 2}", *config('{"trainning": {"seed": 2}}')),
    "a field in another section": Case("It belongs to another section", *config('{"peft": {"learning_rate": 1}}')),
    "a key that is empty": Case("there is no such field", *config('{"": 1}')),
    "a key of dots": Case("there is no such field", *config('{"...": 1}')),
    "a key of a Python object": Case("there is no such field", *config('{"__class__": {"__init__": 1}}')),
    "a key of 10,000 letters": Case("there is no such field", *config('{"' + "k" * 10_000 + '": 1}')),
    "10,000 unknown keys": Case("there is no such field", *config(json.dumps({f"k{n}": n for n in range(10_000)}))),
    "a list for a section": Case("model: got", *config('{"model": [1]}')),
    "a text for a section": Case("model: got 'gpt2'", *config('{"model": "gpt2"}')),
    "false for text": Case("training.output_dir", *field(output_dir=False)),
    "an object for text": Case("model.model_name_or_path", *field(model_name_or_path={"a": 1})),
    "an empty text": Case("model.model_name_or_path", *field(model_name_or_path="")),
    "an empty list of files": Case("training_data_path", *field(training_data_path=[])),
    "null in a list of files": Case("data.training_data_path", *field(training_data_path=[None])),
    "a wrong word": Case("training.eval_strategy", *field(eval_strategy="sometimes")),
    "a word for true": Case("training.bf16: got 'maybe'", *field(bf16="maybe")),
    "a fraction of steps": Case("training.max_steps", *field(max_steps=1.5)),
    "no steps": Case("training.max_steps: got 0", *field(max_steps=0)),
    "a share above one": Case("data.validation_fraction", *field(validation_fraction=1.5)),
    "a negative rate": Case("training.learning_rate", *field(learning_rate=-1)),
    "a port beyond ports": Case("main_process_port", *field(main_process_port=99_999)),
    "two formats of numbers": Case("conflicts with training.bf16", *field(bf16=True, fp16=True)),
    "two ways to quantize": Case("quantization.load_in_8bit", *field(load_in_4bit=True, load_in_8bit=True)),
    "two sources of rows": Case("data.data_config_path: got 'data.yaml'", *field(data_config_path="data.yaml")),
    "a null byte in the run folder": Case("training.output_dir", *field(output_dir="run\0")),
    "a run folder below a file": Case("training.output_dir", *field(output_dir="rows.jsonl/run")),
    "a run folder that is a file": Case("training.output_dir", *field(output_dir="rows.jsonl")),
    "a run folder in a place of the kernel": Case("training.output_dir", *field(output_dir="/proc/run")),
    "a run folder of 5,000 letters": Case("training.output_dir", *field(output_dir="r" * 5000)),
    "a model folder below a file": Case("training.save_model_dir", *field(save_model_dir="rows.jsonl/model")),
    "an unknown tracker": Case("tracking.trackers", *field(trackers="amlflow")),
    "a tracker of another type": Case("tracking.trackers", *field(trackers={"aim": 1})),
    "an unknown plugin": Case(
        "acceleration.plugins", *field(plugins={"training": {"fsed_ops": {}}}, strict_plugins=True)
    ),
    "a plugin of another type": Case("acceleration.plugins", *field(plugins=[1])),
    "an unknown metric": Case("evaluation.", *field(generation_metrics=["blue"])),
    "an unknown export": Case("export.export_formats", *field(export_formats=["gguff"])),
    "no file for DeepSpeed": Case("training.deepspeed", *field(deepspeed="ds.json")),
    "a DeepSpeed file that is none": Case("training.deepspeed", *beside("ds.json", "{", "deepspeed=ds.json")),
    "a DeepSpeed file that is a list": Case("training.deepspeed", *beside("ds.json", "[1]", "deepspeed=ds.json")),
    "no file for FSDP": Case("training.fsdp_config", *field(fsdp_config="fsdp.json")),
    "no file for accelerate": Case("training.accelerator_config", *field(accelerator_config="none.json")),
    "an unknown compiler": Case(
        "training.compile.backend", *field(plugins={"training": {"compile": {"backend": "nope"}}})
    ),
    "an unknown optimizer": Case("training.optim", *field(optim="adamww")),
    "an unknown schedule": Case("training.lr_scheduler_type", *field(lr_scheduler_type="sometimes")),
    "no YAML": Case("bad.yaml: the document cannot be read", *config("a: [1, 2", "bad.yaml")),
    "tabs in YAML": Case("bad.yaml: the document cannot be read", *config("a:\n\t- 1", "bad.yaml")),
    "two YAML documents": Case("bad.yaml: the document cannot be read", *config("seed: 1\n---\nseed: 2\n", "bad.yaml")),
    "a new object in YAML": Case(
        "bad.yaml: the document cannot be read", *config("a: !!python/object/new:os.mkdir [pwned]", "bad.yaml")
    ),
    "a name of Python in YAML": Case(
        "bad.yaml: the document cannot be read", *config("a: !!python/name:os.system", "bad.yaml")
    ),
    "a module in YAML": Case(
        "bad.yaml: the document cannot be read", *config("a: !!python/module:antigravity", "bad.yaml")
    ),
    "an unknown tag in YAML": Case("bad.yaml: the document cannot be read", *config("seed: !run 1", "bad.yaml")),
    "a merge in YAML of no mapping": Case("bad.yaml: the document cannot be read", *config("<<: 1\n", "bad.yaml")),
    "an alias to nothing": Case("bad.yaml: the document cannot be read", *config("seed: *one", "bad.yaml")),
    "a date for a number": Case("training.seed", *config("seed: 2026-01-01", "bad.yaml")),
    "infinity in YAML": Case("the number is not finite", *config("learning_rate: .inf", "bad.yaml")),
    "binary in YAML": Case("training.seed", *config("seed: !!binary aGVsbG8=", "bad.yaml")),
    "a set in YAML": Case("metadata", *config("metadata: !!set {a, b}\nseed: x", "bad.yaml")),
    "a file that is not there": Case("--config", ("missing.yaml",)),
    "a file of another ending": Case("the document cannot be read", *config("[run]\nseed = 1", "bad.toml")),
    "a file of the kernel": Case("/proc/self/mem: the configuration file cannot be read", ("/proc/self/mem",)),
    "a pipe": Case("bad.json", ("bad.json",), piped),
    "an endless device": Case("/dev/zero", ("/dev/zero",)),
    "a null byte in its name": Case("--config", ("run\0.json",)),
    "a name of 5,000 letters": Case("--config", ("r" * 5000,)),
}

ENVIRONMENTS: dict[str, Case] = {
    "no base64": Case(TEXT_VARIABLE, **variable(TEXT_VARIABLE, "!!!")),
    "half of base64": Case(TEXT_VARIABLE, **variable(TEXT_VARIABLE, encoded('{"seed": 1}')[:-3])),
    "a pickle": Case("a pickle is never read", **variable(TEXT_VARIABLE, encoded(PICKLE))),
    "no UTF-8": Case(TEXT_VARIABLE, **variable(TEXT_VARIABLE, encoded(b"\xff\xfe{}"))),
    "no JSON": Case(TEXT_VARIABLE, **variable(TEXT_VARIABLE, encoded("seed: 1"))),
    "a list": Case(TEXT_VARIABLE, **variable(TEXT_VARIABLE, encoded("[1]"))),
    "a wrong value": Case(f"environment {TEXT_VARIABLE}", **variable(TEXT_VARIABLE, encoded('{"seed": "x"}'))),
    "an unknown field": Case(f"environment {TEXT_VARIABLE}", **variable(TEXT_VARIABLE, encoded('{"sed": 1}'))),
    "too deep": Case(TEXT_VARIABLE, **variable(TEXT_VARIABLE, encoded("[" * 90_000))),
    "a key twice": Case("the key stands twice", **variable(TEXT_VARIABLE, encoded('{"seed": 1, "seed": 2}'))),
    "100,000 bytes": Case(TEXT_VARIABLE, **variable(TEXT_VARIABLE, encoded("1" * 90_000))),
    "a path to nothing": Case("missing.json", **variable(PATH_VARIABLE, "{folder}/missing.json")),
    "a path to a folder": Case("cannot be read: Is a directory", **variable(PATH_VARIABLE, "{folder}")),
    "a path to another file": Case(
        "there is no such field", **variable(PATH_VARIABLE, "{folder}/model/tokenizer.json")
    ),
    "a device": Case("/dev/zero", **variable(PATH_VARIABLE, "/dev/zero")),
}

COMMAND_LINES: dict[str, Case] = {
    "an unknown field": Case("nope: got 1 (from command line)", *words("nope=1")),
    "an unknown flag": Case("nope: got True (from command line)", *words("--nope")),
    "no name": Case("=1", *words("=1")),
    "a name of dots": Case("a..b", *words("a..b=1")),
    "a name beside an object": Case("training.learning_rate: got {'x': 1}", *words("learning_rate.x=1")),
    "a place in no list": Case("data.datasets: got", *words("datasets.7.name=x")),
    "adding to no list": Case("learning_rate", *words("learning_rate+=1")),
    "NaN": Case("training.learning_rate: got 'NaN'", *words("learning_rate=NaN")),
    "a number of 5,000 digits": Case("training.max_steps", *words("max_steps=1" + "0" * 5000)),
    "hexadecimal": Case("training.max_steps: got '0x10'", *words("max_steps=0x10")),
    "a number in words": Case("training.max_steps: got 'ten'", *words("max_steps=ten")),
    "an empty value": Case("training.max_steps", *words("max_steps=")),
    "a torn list": Case("data.datasets", *words("datasets=[{")),
    "a path that is none": Case("run.json2", ("run.json", "run.json2")),
    "--config without a file": Case("--config: expected one file", ("--config",)),
    "a lone surrogate": Case("model.model_name_or_path", *words("model_name_or_path=./\udcff")),
    "shell characters in a name": Case("$(mkdir pwned)", ("$(mkdir pwned)",)),
    "removal of the model": Case("model.model_name_or_path: a model is required", *words("~model_name_or_path")),
    "removal of nothing": Case("nope", *words("~nope")),
}

RULES: dict[str, Case] = {
    "no condition": Case("trainer_control.rules[0].when", *rule(name="a")),
    "an empty condition": Case("trainer_control.rules[0].when", *rule(when="")),
    "a number for a condition": Case("trainer_control.rules[0].when", *rule(when=7)),
    "code": Case("trainer_control.rules[0].when", *rule(when=TOUCH)),
    "an attribute": Case("trainer_control.rules[0].when", *rule(when="loss.__class__ == 1")),
    "a misspelt key": Case("trainer_control.rules[0].wen", *rule(wen="loss > 1", when="loss > 2")),
    "an unknown metric": Case("there is no metric 'los'", *rule(when="los > 1")),
    "an unknown trigger": Case("trainer_control.rules[0].triggers", *rule(when="loss > 1", triggers=["on_lag"])),
    "no triggers": Case("trainer_control.rules[0].triggers", *rule(when="loss > 1", triggers=[])),
    "an unknown operation": Case("trainer_control.rules[0].operations", *rule(when="loss > 1", operations=["stop"])),
    "a negative patience": Case("trainer_control.rules[0].patience", *rule(when="loss > 1", patience=-1)),
    "an evaluation that follows itself": Case(
        "trainer_control.rules[0].triggers",
        *rule(when="loss > 1", triggers=["on_evaluate"], operations=["should_evaluate"]),
    ),
    "a list that is none": Case("trainer_control.rules", *field(trainer_control={"rules": "loss > 1"})),
    "a rule that is a text": Case("trainer_control.rules[0]", *field(trainer_control={"rules": ["loss > 1"]})),
    "a score that nobody measures": Case(
        "metric_for_best_model", *field(early_stopping_patience=1, metric_for_best_model="eval_blue")
    ),
    "a window of nothing": Case("trainer_control.plateau_window", *field(plateau_window=0)),
    "a controller file that is not there": Case(
        "trainer_controller_config_file", *words("trainer_controller_config_file=none.yaml")
    ),
    "a controller file that is none": Case("rules.yaml", *controllers("a: [")),
    "a controller file of text": Case("rules.yaml", *controllers("hello")),
    "a controller file with a tag": Case("rules.yaml", *controllers("controllers: !!python/name:os.system")),
    "a controller file that is a list": Case("controllers", *controllers("[1]")),
    "a controller with code": Case(
        "rule a: at character 1: this call is not allowed",
        *controllers(
            f'controllers:\n- {{name: a, triggers: [on_log], rule: "{TOUCH}", operations: [hfcontrols.should_log]}}'
        ),
    ),
    "a controller of an unknown class": Case(
        "controller_metrics[0].class", *controllers("controller_metrics:\n- {name: a, class: Evil}\ncontrollers: []")
    ),
    "an operation of an unknown class": Case(
        "operations[0].class", *controllers("operations:\n- {name: a, class: Evil}\ncontrollers: []")
    ),
    "a folder of rules that is a file": Case("recommender.rules_dir", *words("rules_dir=rows.jsonl")),
    "a folder of rules that is empty": Case("recommender.rules_dir", *words("rules_dir=model/inner")),
    "rules that are no Python": Case("bad.py, line 1", *rules_dir("class Custom_:")),
    "rules that are a pickle": Case("bad.py", *rules_dir(PICKLE)),
    "rules that fail at import": Case("bad.py, line 1: ZeroDivisionError", *rules_dir("1 / 0")),
    "rules that leave": Case("bad.py, line 1: SystemExit", *rules_dir("raise SystemExit(0)")),
    "rules that hold none": Case("recommender.rules_dir", *rules_dir("x = 1")),
    "a rule that fails": Case(
        "rule Custom_Bad",
        *rules_dir(
            "from tuning.recommender.action import Action\nclass Custom_Bad(Action):\n"
            "    def apply(self, ir, facts):\n        return 1 / 0\n"
        ),
    ),
    "a rule that returns another thing": Case(
        "expected a Recommendation",
        *rules_dir(
            "from tuning.recommender.action import Action\nclass Custom_Bad(Action):\n"
            "    def apply(self, ir, facts):\n        return 7\n"
        ),
    ),
}

DATA_CONFIGS: dict[str, Case] = {
    "no file": Case("data.data_config_path", *words("training_data_path=null", "data_config_path=none.yaml")),
    "no YAML": Case("data.data_config_path", *data_config("a: [")),
    "no UTF-8": Case("data.data_config_path: 'data.yaml' is not UTF-8", *data_config(b"\xff\xfe")),
    "a list": Case("data.data_config_path", *data_config("[1]")),
    "a Python object": Case("data.data_config_path", *data_config("a: !!python/object/apply:os.mkdir [pwned]")),
    "a billion laughs": Case("aliases are cyclic", *data_config("a: &a\n  b: *a\n")),
    "no datasets": Case("datasets: got", *data_config("datasets: []")),
    "datasets that are a text": Case("datasets", *data_config("datasets: rows.jsonl")),
    "a dataset that is a text": Case("data.datasets[0]", *data_config("datasets: [rows.jsonl]")),
    "a dataset without paths": Case("data.datasets[0]", *data_config("datasets: [{name: a}]")),
    "an unknown key": Case("there is no such key", *data_config("dataset: 1\ndatasets: [{name: a, data_paths: [b]}]")),
    "an unknown key of a dataset": Case(
        "data.datasets[0].data_path", *data_config("datasets: [{name: a, data_path: [rows.jsonl]}]")
    ),
    "a path to nothing": Case(
        "data.datasets[0].data_paths", *data_config("datasets: [{name: a, data_paths: [none.jsonl]}]")
    ),
    "shares beyond one": Case(
        "data.datasets[0].split",
        *data_config("datasets: [{name: a, data_paths: [rows.jsonl], split: {train: 0.9, validation: 0.9}}]"),
    ),
    "a negative weight": Case(
        "data.datasets[0].sampling", *data_config("datasets: [{name: a, data_paths: [rows.jsonl], sampling: -1}]")
    ),
    "a template that is no base64": Case(
        "dataprocessor.chat_template_base64",
        *data_config("dataprocessor: {chat_template_base64: '!'}\ndatasets: [{name: a, data_paths: [rows.jsonl]}]"),
    ),
    "a handler that is a number": Case("data.datasets[0].data_handlers", *handlers(7)),
    "an unknown handler": Case("data_handlers", *handlers({"name": "os.system", "arguments": {}})),
    "a handler with unknown arguments": Case(
        "data_handlers", *handlers({"name": "rename_columns", "arguments": {"evil": 1}})
    ),
    "a handler without its arguments": Case("data_handlers", *handlers({"name": "rename_columns"})),
    "a handler with a template that escapes": Case(
        "rows.jsonl row 1",
        *handlers(
            {
                "name": "apply_custom_jinja_template",
                "arguments": {
                    "fn_kwargs": {"formatted_text_column_name": "text", "template": "{{ ''.__class__.__mro__ }}"}
                },
            }
        ),
    ),
}

ALL = {
    f"{about}: {name}": case
    for about, cases in (
        ("document", DOCUMENTS),
        ("environment", ENVIRONMENTS),
        ("command line", COMMAND_LINES),
        ("rules", RULES),
        ("data config", DATA_CONFIGS),
    )
    for name, case in cases.items()
}
