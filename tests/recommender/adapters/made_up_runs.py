"""Documents of ours for property tests: any subset of all fields, each with a value that the schema takes as it is."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

from tuning.config.ir import IR, merge_patch, nested
from tuning.config.names import field_paths
from tuning.config.schema import TuningConfig, sections
from tuning.config.types import choices
from tuning.recommender.adapters.mapping import checked

_VALUES: tuple[Any, ...] = (
    *(True, False, 1, 2, 8, 64, 2048, 0.05, 0.5, 0.25, 3.0, 2e-5),
    *(
        "runs/first",
        "org/model",
        "rows.jsonl",
        "9.0",
        "{{ question }}",
        "pissa",
        "pissa_niter_4",
        "all-linear",
        r".*_proj",
    ),
    *("eager", "flash_attention_2", "no such kernel", "true", "default", "tok"),
    *(["q_proj", "v_proj"], ["q_proj"], ["rows.jsonl", "more.csv", "org/rows"], ["wandb"], ["aim", "mlflow"], []),
    *({"use_reentrant": False}, {"a": {"b": [1, "c"]}, "d": 0.5}),
)
_ONE_OF_TWO = (
    ("training.bf16", "training.fp16"),
    ("quantization.load_in_4bit", "quantization.load_in_8bit"),
    ("data.validation_data_path", "data.validation_fraction"),
    ("data.dataset_text_field", "data.data_formatter_template"),
    ("data.dataset_text_field", "data.dataset_conversation_field"),
    ("model.chat_template", "model.chat_template_path"),
    ("data.datasets", "data.training_data_path"),
)
_PATHS = (["rows.jsonl"], ["rows.jsonl", "more.csv", "org/rows"], ["./folder"], ["org/rows"], ["a.json", "b.json"])
_PICKED: dict[str, tuple[Any, ...]] = {
    "data.training_data_path": _PATHS,
    "data.validation_data_path": _PATHS,
    "accelerate": (
        {"distributed_type": "NO"},
        {"distributed_type": "MULTI_GPU", "main_process_port": 29501},
        {"distributed_type": "FSDP", "fsdp_config": {"fsdp_version": 2, "fsdp_offload_params": False}},
        {"distributed_type": "FSDP", "mixed_precision": "fp8", "no_such_key": 1},
    ),
    "data.data_format": ("chat", "sharegpt", "instruction", "prompt_completion", "question_answering", "text", "mine"),
    "data.datasets": (
        [{"data_paths": ["rows.jsonl"], "sampling": 0.25}, {"data_paths": ["org/rows"], "sampling": 0.75}],
        [{"data_paths": ["rows.jsonl"], "name": "mine", "rename_columns": {"q": "question"}}],
    ),
    "data.dataset_split": ("train", "train[:10%]"),
    "model.model_name_or_path": ("org/model", "models/base"),
    "training.output_dir": ("runs/first", "out"),
    "training.save_model_dir": ("models/tuned",),
    "peft.target_modules": (
        *("all-linear", r".*\.q_proj", ["q_proj"], ["q_proj", "v_proj"], ["k_proj", "gate_proj"]),
        *(["q_proj", "gate_proj", "up_proj", "down_proj", "lm_head"],),
    ),
}

ENTANGLED = tuple(
    path
    for path in field_paths().values()
    if path.startswith(("peft.", "quantization.", "data.", "compute.num"))
    or path.rpartition(".")[2]
    in {
        *(
            "accelerate",
            "bf16",
            "fp16",
            "dtype",
            "attn_implementation",
            "use_flash_attn",
            "packing",
            "packing_strategy",
        ),
        *("eval_packing", "eval_steps", "eval_strategy", "max_steps", "num_train_epochs", "warmup_steps", "optim"),
        *("trackers", "wandb_project", "mlflow_tracking_uri", "push_to_hub", "hub_model_id", "save_model_dir"),
        *("output_dir", "model_name_or_path", "resume_from_checkpoint", "completion_only_loss", "adam_beta1"),
        *("adam_beta2", "chat_template", "embedding_size_multiple_of", "padding_free", "train_sampling_strategy"),
        *("gradient_checkpointing", "gradient_checkpointing_kwargs", "use_cpu", "lr_scheduler_type"),
    }
)
"""Fields that some program says together with others."""


@functools.cache
def values_of(path: str) -> tuple[Any, ...]:
    """List values that the field at a path holds exactly as they are written."""
    section, _, name = path.partition(".")
    field = (sections()[section] if name else TuningConfig).model_fields[name or section]
    pool = _PICKED.get(path, (*_VALUES, *choices(field.annotation)))
    return tuple(value for value in pool if _is_taken(path, value))


def runs(paths: Iterable[str] | None = None) -> st.SearchStrategy[IR]:
    """Draw documents with any of these fields; None: of all fields."""
    found = sorted(field_paths().values()) if paths is None else list(paths)
    return st.lists(st.sampled_from(found), unique=True, max_size=25).flatmap(_with_values)


def _with_values(paths: list[str]) -> st.SearchStrategy[IR]:
    drawn = {path: st.sampled_from(values_of(path)) for path in paths if values_of(path)}
    return st.fixed_dictionaries(drawn).map(_without_contradictions).map(document)


def _without_contradictions(values: dict[str, Any]) -> dict[str, Any]:
    """Keep what one run can have at once; the schema's rules refuse the rest."""
    for kept, gone in (*_ONE_OF_TWO, *((second, first) for first, second in _ONE_OF_TWO)):
        if values.get(kept) not in (None, False) and values.get(gone) not in (None, False):
            values = {path: value for path, value in values.items() if path != gone}
    processes = values.get("compute.num_nodes", 1) * values.get("compute.num_gpus_per_node", 1)
    if "compute.num_gpus_per_node" in values and values.get("compute.num_processes", processes) != processes:
        values = {path: value for path, value in values.items() if path != "compute.num_processes"}
    return values


def document(values: dict[str, Any]) -> IR:
    """Make a document from values by path."""
    nested_values: dict[str, Any] = {}
    for path, value in values.items():
        nested_values = merge_patch(nested_values, nested(path, value))
    return IR.of(nested_values, "the user")


def _is_taken(path: str, value: Any) -> bool:
    try:
        found = checked(path, value)
    except ValueError:
        return False
    return type(found) is type(value) and found == value
