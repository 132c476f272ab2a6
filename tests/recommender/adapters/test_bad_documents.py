"""A document that cannot be used is refused with its file and its keys; none ends in a traceback."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuning.errors import ConfigError, UserError
from tuning.recommender.adapters import ADAPTERS
from tuning.recommender.adapters.adapter import Imported
from tuning.recommender.adapters.documents import parse_document, read_document
from tuning.recommender.adapters.fms import read_files
from tuning.recommender.adapters.fms_tuning import ROWS
from tuning.recommender.adapters.table_adapter import TableAdapter

KEYS: dict[str, tuple[str, ...]] = {
    "native": (
        "training",
        "peft",
        "r",
        "learning_rate",
        "training.learning_rate",
        "metadata",
        "values",
        "sources",
        "data",
    ),
    "fms": (
        *("tuning_strategy", "bitsandbytes", "padding_free", "exp_metadata", "dataprocessor", "datasets"),
        *("data_config_path", "learning_rate", "dataprocessor.chat_template", "warmup_ratio"),
        *(row.key for row in ROWS),
    ),
    "accelerate": ("mixed_precision", "distributed_type", "fsdp_config", "fp16", "gpu_ids", "num_processes"),
    "trl": (
        "datasets",
        "dataset_name",
        "test_split_size",
        "use_peft",
        "lora_task_type",
        "dtype",
        "load_in_4bit",
        "env",
    ),
    "llamafactory": (
        *(
            "stage",
            "finetuning_type",
            "quantization_bit",
            "quantization_method",
            "pure_bf16",
            "pissa_init",
            "pissa_iter",
        ),
        *("neat_packing", "dataset", "eval_dataset", "dataset_dir", "use_reentrant_gc"),
    ),
    "axolotl": (
        *("adapter", "load_in_4bit", "bf16", "fp16", "bfloat16", "flash_attention", "attn_implementation", "datasets"),
        *("test_datasets", "evals_per_epoch", "saves_per_epoch", "use_wandb", "fsdp", "fsdp_config", "fsdp_version"),
        *(
            "chat_template",
            "chat_template_jinja",
            "hub_model_id",
            "special_tokens",
            "bnb_config_kwargs",
            "val_set_size",
        ),
        *("lora_target_linear", "resize_token_embeddings_to_32x"),
    ),
    "torchtune": (
        *("model", "tokenizer", "checkpointer", "optimizer", "dataset", "dataset_val", "metric_logger", "lr_scheduler"),
        *("model._component_", "model.lora_attn_modules", "optimizer._component_", "optimizer.betas", "dtype"),
        *("dataset._component_", "dataset.source", "dataset.packed", "dataset.train_on_input", "max_steps_per_epoch"),
        *("metric_logger._component_", "run_val_every_n_steps", "checkpointer.output_dir", "output_dir"),
    ),
}
WORDS = st.sampled_from(
    ["lora", "json", "true", "${output_dir}", "torchtune.models.lora_x", "chat_template", "a/b", ""]
)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(-2, 9), st.floats(allow_nan=False), WORDS)
NAMES = st.sampled_from(["path", "type", "split", "_component_", "source", "data_files", "name", "data_paths", "x", ""])
JSON = st.recursive(
    LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=4))
)


def documents(name: str) -> st.SearchStrategy[dict[str, Any]]:
    adapter = ADAPTERS.load(name)
    rows = [row.key for row in adapter.rows] if issubclass(adapter, TableAdapter) else []
    keys = st.one_of(st.sampled_from(KEYS[name]), st.sampled_from(rows or KEYS[name]))
    return st.dictionaries(keys, JSON, max_size=8).map(with_inner_keys)


def with_inner_keys(flat: dict[str, Any]) -> dict[str, Any]:
    """Make objects of dotted keys, where nothing else is in the way."""
    document: dict[str, Any] = {}
    for key, value in flat.items():
        head, _, inner = key.partition(".")
        if inner and isinstance(document.setdefault(head, {}), dict):
            document[head][inner] = value
        elif not inner:
            document[head] = value
    return document


def refused_or_read(name: str, document: dict[str, Any]) -> None:
    try:
        read = ADAPTERS.load(name)().read(document, "file it")
    except UserError as error:
        assert str(error)
    else:
        assert isinstance(read, Imported)
        ADAPTERS.load(name)().write(read.ir)


@pytest.mark.parametrize("name", KEYS)
@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_values_are_read_or_refused(name: str, data: st.DataObject) -> None:
    refused_or_read(name, data.draw(documents(name)))


@pytest.mark.slow
@pytest.mark.parametrize("name", KEYS)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_many_values_are_read_or_refused(name: str, data: st.DataObject) -> None:
    refused_or_read(name, data.draw(documents(name)))


@pytest.mark.parametrize(
    ("name", "document", "told"),
    [
        ("native", {"training": {"learning_rate": "fast"}}, "training.learning_rate: got 'fast' (from file it)"),
        ("native", {"training": 5}, "training: got 5 (from file it); expected an object"),
        ("native", {"r": 8, "lora_r": 16}, "the field was already given as 'r'"),
        ("fms", {"max_seq_length": "long"}, "max_seq_length: got 'long' (from file it); expected a whole number"),
        ("fms", {"dataprocessor": {}, "datasets": [{"data_paths": 5}]}, "datasets[0].data_paths: got 5"),
        ("accelerate", {"distributed_type": "MANY"}, "distributed_type: got 'MANY' (from file it); expected one of:"),
        ("accelerate", {"fsdp_config": [1]}, "fsdp_config: got [1] (from file it); expected an object"),
        ("accelerate", {"mixed_precision": "bf8"}, "mixed_precision: got 'bf8'"),
        ("trl", {"lora_r": 0}, "lora_r: got 0 (from file it); expected a whole number, at least 1"),
        ("trl", {"max_length": 8, "max_seq_length": 16}, "'max_length' says the same setting otherwise; keep one"),
        ("trl", {"datasets": ["a"]}, "datasets: got ['a'] (from file it); expected a list of objects with a path"),
        ("llamafactory", {"cutoff_len": -1}, "cutoff_len: got -1"),
        ("llamafactory", {"warmup_ratio": 3}, "warmup_ratio: got 3 (from file it); expected a share of all steps"),
        ("axolotl", {"adapter": "qlora", "load_in_4bit": False}, "'adapter' says the same setting otherwise"),
        ("axolotl", {"evals_per_epoch": "two", "val_set_size": 0.1}, "evals_per_epoch: got 'two'"),
        ("torchtune", {"dtype": "int4"}, "dtype: got 'int4' (from file it); expected one of: bf16, fp32"),
        ("torchtune", {"model": {"lora_rank": 8}}, "model._component_: got None (from file it); expected the name"),
    ],
)
def test_a_wrong_value_is_told_with_its_key_and_its_file(name: str, document: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as error:
        ADAPTERS.load(name)().read(document, "file it")
    assert told in str(error.value)


def test_all_wrong_values_of_all_files_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        read_files({"r": 0, "max_seq_length": 0}, {"datasets": 3}, {"distributed_type": 1}, {"num_nodes": "x"})
    assert sorted(problem.path for problem in error.value.problems) == [
        *("datasets", "distributed_type", "max_seq_length", "num_nodes", "peft.r")
    ]


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("a.yaml", "a: [1", "a.yaml: cannot be read: while parsing"),
        ("a.yaml", "a: 1\na: 2", "the key stands twice"),
        ("a.yaml", "- 1", "a.yaml: expected an object of keys and values, got list"),
        ("a.yaml", "a: &x [*x]", "cyclic"),
        ("a.yaml", "a: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("a.json", '{"a": NaN}', "JSON has no such number"),
        ("a.json", '{"a": 1, "a": 2}', "the key stands twice"),
        ("a.json", "{", "a.json: cannot be read"),
        ("a.json", "[" * 100_000, "nested too deeply"),
    ],
)
def test_a_text_that_cannot_be_read_is_told_with_its_file(file: str, text: str, told: str) -> None:
    with pytest.raises(UserError) as error:
        parse_document(text, file)
    assert told in str(error.value)


def test_a_file_that_is_not_there_is_told_by_name() -> None:
    with pytest.raises(UserError, match=r"^nowhere\.yaml: cannot be read: No such file"):
        read_document("nowhere.yaml")
