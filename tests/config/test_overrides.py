"""The grammar of settings on a command line, and which of several values counts."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuning.config.loading import load_ir

FILE = {
    "learning_rate": 1e-4,
    "trackers": ["aim"],
    "target_modules": "q_proj,v_proj",
    "training_data_path": "a.jsonl",
    "metadata": {"owner": "me", "tags": ["x", "y"], "deep": {"a": 1, "b": 2}},
    "peft": {"r": 8, "lora_alpha": 16},
}

# Words are parted by two spaces here, so that one of them can hold a space.
VECTORS: list[tuple[str, dict[str, Any]]] = [
    # one value in each spelling of its key
    ("seed=1", {"training.seed": 1}),
    ("training.seed=1", {"training.seed": 1}),
    ("--seed  1", {"training.seed": 1}),
    ("--seed=1", {"training.seed": 1}),
    ("--training.seed  1", {"training.seed": 1}),
    ("--override  seed=1  r=4", {"training.seed": 1, "peft.r": 4}),
    ("--weight-decay  0.1", {"training.weight_decay": 0.1}),
    ("lora_r=4", {"peft.r": 4}),
    ("max_seq_length=512", {"training.max_length": 512}),
    # conflicting spellings: the last counts
    ("seed=1  seed=2", {"training.seed": 2}),
    ("r=1  peft.r=2", {"peft.r": 2}),
    ("peft.r=1  --lora_r  2", {"peft.r": 2}),
    ("max_length=1  max_seq_length=2", {"training.max_length": 2}),
    ("seed=1  seed=null  seed=3", {"training.seed": 3}),
    # numbers, flags, words
    ("learning_rate=2e-5", {"training.learning_rate": 2e-5}),
    ("--packing", {"training.packing": True}),
    ("packing=False", {"training.packing": False}),
    ("packing=true", {"training.packing": True}),
    ("run_name=2024", {"tracking.run_name": "2024"}),
    ("run_name=", {"tracking.run_name": ""}),
    ("run_name=a b", {"tracking.run_name": "a b"}),
    ("run_name=null", {"tracking.run_name": None}),
    # quotes and = in values
    ("response_template=a=b=c", {"data.response_template": "a=b=c"}),
    ('run_name="a b"', {"tracking.run_name": '"a b"'}),
    ('metadata.note="12"', {"metadata.note": "12"}),
    ("metadata.note=12", {"metadata.note": 12}),
    ("metadata.note=it's", {"metadata.note": "it's"}),
    ('metadata.note="a=b"', {"metadata.note": "a=b"}),
    # lists
    ("trackers=[]", {"tracking.trackers": []}),
    ('trackers=["wandb"]', {"tracking.trackers": ["wandb"]}),
    ("--trackers  wandb  mlflow", {"tracking.trackers": ["wandb", "mlflow"]}),
    ("trackers=wandb,mlflow", {"tracking.trackers": "wandb,mlflow"}),
    ("trackers+=mlflow", {"tracking.trackers": ["aim", "mlflow"]}),
    ('trackers+=["mlflow","wandb"]', {"tracking.trackers": ["aim", "mlflow", "wandb"]}),
    ("trackers+=mlflow  report_to+=wandb", {"tracking.trackers": ["aim", "mlflow", "wandb"]}),
    ("trackers=null  trackers+=mlflow", {"tracking.trackers": ["mlflow"]}),
    ("target_modules+=o_proj", {"peft.target_modules": ["q_proj", "v_proj", "o_proj"]}),
    ("training_data_path+=b,c.jsonl", {"data.training_data_path": ["a.jsonl", "b,c.jsonl"]}),
    ("modules_to_save+=lm_head", {"peft.modules_to_save": ["lm_head"]}),
    ("metadata.tags+=z", {"metadata.tags": ["x", "y", "z"]}),
    ("metadata.tags.0=w", {"metadata.tags": ["w", "y"]}),
    ("metadata.tags.1=null", {"metadata.tags": ["x"]}),
    # nested objects
    ("metadata.ticket=42", {"metadata.ticket": 42, "metadata.owner": "me"}),
    ('metadata={"ticket":42}', {"metadata.ticket": 42, "metadata.owner": "me"}),
    ("metadata.deep.a=5", {"metadata.deep": {"a": 5, "b": 2}}),
    ('metadata.deep.c={"d":[1]}', {"metadata.deep": {"a": 1, "b": 2, "c": {"d": [1]}}}),
    ("lr_scheduler_kwargs.min_lr=0.1", {"training.lr_scheduler_kwargs": {"min_lr": 0.1}}),
    ("training.lr_scheduler_kwargs.min_lr=0.1", {"training.lr_scheduler_kwargs": {"min_lr": 0.1}}),
    # removal
    ("learning_rate=null", {"training.learning_rate": None}),
    ("~learning_rate", {"training.learning_rate": None}),
    ("~training.learning_rate", {"training.learning_rate": None, "training": None}),
    ("~lora_r", {"peft.r": None, "peft.lora_alpha": 16}),
    ("~peft", {"peft": None}),
    ("peft=null  r=4", {"peft": {"r": 4}}),
    ("r=4  ~peft", {"peft": None}),
    ("metadata.owner=null", {"metadata.owner": None, "metadata.tags": ["x", "y"]}),
    ("~metadata.deep.a", {"metadata.deep": {"b": 2}}),
    ("metadata.a=1  metadata=null", {"metadata": None}),
    ("--packing  ~seed", {"training.packing": True}),
]

FAULTS = [
    ("learning_rat=1", "Did you mean 'learning_rate'?"),
    ("lr=1", "Did you mean 'learning_rate'?"),
    ("~lerning_rate", "there is no such field"),
    ("peft.learning_rate=1", "It belongs to another section."),
    ("learning_rate+=1", "+= adds to a list, and this is none. Replace it: learning_rate=…"),
    ("run_name+=x", "+= adds to a list"),
    ("peft=5", "expected an object of the section's fields"),
    ("metadata.tags.7=x", "the list has 2 items, numbered from 0"),
    ("b.json", "one configuration file is read"),
    ("--config", "expected one file"),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "run.json").write_text(json.dumps(FILE))
    return tmp_path / "run.json"


@pytest.mark.parametrize(("line", "expected"), VECTORS, ids=[line for line, _ in VECTORS])
def test_a_setting_on_the_command_line_changes_what_the_file_says(
    file: Path, line: str, expected: dict[str, Any]
) -> None:
    loaded = load_ir([str(file), *line.split("  ")], environ={})
    assert loaded.problems == []
    assert {path: loaded.ir.get(path) for path in expected} == expected


@pytest.mark.parametrize(("line", "told"), FAULTS)
def test_a_wrong_setting_is_told(file: Path, line: str, told: str) -> None:
    loaded = load_ir(["--config", str(file), *line.split("  ")], environ={})
    assert told in "\n".join(map(str, loaded.problems))


def test_removing_the_last_field_of_a_section_leaves_no_trace_of_the_section(file: Path) -> None:
    ir = load_ir([str(file), "~learning_rate"], environ={}).ir
    assert not ir.is_set_by_user("training.seed")
    assert not any(path.startswith("training") for path in ir.sources)


NUMBERS = {"learning_rate": "training", "weight_decay": "training", "lora_alpha": "peft", "max_grad_norm": "training"}
TEXTS = {"run_name": "tracking", "revision": "model", "response_template": "data", "dataset_text_field": "data"}
VALUES = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(NUMBERS, st.floats(0.001, 10) | st.none()),
        **dict.fromkeys(TEXTS, st.text(string.printable, min_size=1).filter(lambda text: text not in ("null", "None"))),
    },
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(in_file=VALUES, on_command_line=VALUES, flat=st.booleans())
def test_for_any_settings_the_result_and_its_sources_are_right(
    tmp_path: Path, in_file: dict[str, Any], on_command_line: dict[str, Any], flat: bool
) -> None:
    file = tmp_path / "run.json"
    sections = NUMBERS | TEXTS
    nested: dict[str, dict[str, Any]] = {}
    for name, value in in_file.items():
        nested.setdefault(sections[name], {})[name] = value
    file.write_text(json.dumps(in_file if flat else nested))
    texts = {name: "null" if value is None else str(value) for name, value in on_command_line.items()}
    words = [f"{name}={text}" if flat else f"--{sections[name]}.{name}={text}" for name, text in texts.items()]
    loaded = load_ir([str(file), *words], environ={})
    decided = {name: value for name, value in (in_file | on_command_line).items() if value is not None}
    assert loaded.problems == []
    assert {path.rpartition(".")[2]: loaded.ir.get(path) for path in loaded.ir.sources} == decided
    assert {path.rpartition(".")[2]: origin for path, origin in loaded.ir.sources.items()} == {
        name: "command line" if name in on_command_line else f"file {file}" for name in decided
    }
