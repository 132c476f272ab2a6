"""What the user sets stays as it is, and every value of the final configuration has exactly one source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuning.config.ir import leaves
from tuning.config.names import path_of
from tuning.sft_trainer import load_config

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "learning_rate": st.floats(1e-7, 1.0),
    "num_train_epochs": st.floats(0.1, 10.0),
    "max_steps": st.integers(1, 5000),
    "max_length": st.integers(8, 256),
    "per_device_train_batch_size": st.integers(1, 64),
    "per_device_eval_batch_size": st.integers(1, 64),
    "gradient_accumulation_steps": st.integers(1, 16),
    "gradient_checkpointing": st.booleans(),
    "warmup_steps": st.one_of(st.integers(0, 100), st.floats(0, 0.9)),
    "lr_scheduler_type": st.sampled_from(["linear", "cosine", "constant", "constant_with_warmup"]),
    "lr_scheduler_kwargs": st.fixed_dictionaries({"num_cycles": st.integers(1, 3)}),
    "weight_decay": st.floats(0, 0.5),
    "optim": st.sampled_from(["adamw_torch", "adafactor", "sgd"]),
    "bf16": st.booleans(),
    "packing": st.booleans(),
    "train_sampling_strategy": st.sampled_from(["random", "sequential", "group_by_length"]),
    "logging_steps": st.integers(1, 50),
    "eval_strategy": st.sampled_from(["no", "steps", "epoch"]),
    "eval_steps": st.integers(1, 50),
    "save_strategy": st.sampled_from(["no", "steps", "epoch"]),
    "save_steps": st.integers(1, 50),
    "save_total_limit": st.integers(1, 5),
    "validation_fraction": st.floats(0.1, 0.5),
    "dtype": st.sampled_from(["float32", "bfloat16"]),
    "peft_method": st.just("lora"),
    "r": st.integers(1, 64),
    "lora_alpha": st.floats(1, 64),
    "lora_dropout": st.floats(0, 0.5),
    "target_modules": st.sampled_from(["all-linear", ["q_proj", "v_proj"]]),
    "metadata": st.dictionaries(st.text("abc", min_size=1), st.integers(), min_size=1),
    "seed": st.integers(0, 2**32 - 1),
}
SOME_OF_THEM = st.sets(st.sampled_from(sorted(VALUES))).flatmap(
    lambda names: st.fixed_dictionaries({name: VALUES[name] for name in sorted(names)})
)


@pytest.fixture(scope="module")
def required(tiny_config_only_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("rows")
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    for file in tiny_config_only_model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    rows = (json.dumps({"prompt": f"Say {number}: ", "completion": str(number)}) for number in range(600))
    (folder / "train.jsonl").write_text("\n".join(rows))
    paths = {"model_name_or_path": folder, "training_data_path": folder / "train.jsonl", "output_dir": folder / "out"}
    return {name: str(path) for name, path in paths.items()}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chosen=SOME_OF_THEM)
def test_what_the_user_sets_is_never_changed_and_each_value_has_one_source(
    required: dict[str, Any], chosen: dict[str, Any]
) -> None:
    job = load_config({**required, **chosen})
    final = dict(leaves(job.document.values))
    assert set(final) == set(job.document.sources)
    for name, value in chosen.items():
        path = str(path_of(name))
        assert job.document.get(path) == value
        assert all(job.document.sources[leaf] == "argument" for leaf in final if f"{leaf}.".startswith(f"{path}."))


def test_what_the_user_leaves_out_is_filled_with_a_reason(required: dict[str, Any]) -> None:
    job = load_config(required)
    assert job.document.sources["training.learning_rate"] == "action LearningRate"
    assert job.document.sources["training.adam_beta1"] == "default"
    assert all(found.comment and found.source for found in job.recommendations)


def test_the_same_configuration_gives_the_same_bytes(required: dict[str, Any]) -> None:
    first, second = load_config(required), load_config(required)
    assert json.dumps(first.document.values) == json.dumps(second.document.values)


def test_without_the_recommender_nothing_is_filled(required: dict[str, Any]) -> None:
    job = load_config({**required, "recommend": False})
    assert set(job.document.sources.values()) == {"argument", "default"}
