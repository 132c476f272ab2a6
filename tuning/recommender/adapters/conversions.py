"""Changes of value that several programs have in common, and the names that they share with Hugging Face."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any

from tuning.config.names import field_paths
from tuning.recommender.adapters.mapping import NotSayable, Reading, Row, Writing, checked, same_names

TRL_ONLY = frozenset(
    {
        *("activation_offloading", "assistant_only_loss", "completion_only_loss", "dataset_kwargs", "dataset_num_proc"),
        *("eos_token", "eval_packing", "loss_type", "max_length", "model_init_kwargs", "packing", "packing_strategy"),
        *("pad_to_multiple_of", "pad_token", "padding_free", "router_aux_loss_coef", "shuffle_dataset"),
        *("truncation_mode",),
    }
)
"""Fields of `SFTConfig` that `TrainingArguments` does not have."""
SECRET = "is a secret; set HF_TOKEN where the run starts"
_BUILDERS = {
    **{".json": "json", ".jsonl": "json", ".csv": "csv", ".parquet": "parquet", ".arrow": "arrow", ".txt": "text"},
    **{".json.gz": "json", ".jsonl.gz": "json"},
}
BUILDERS = frozenset(_BUILDERS.values())
"""Names by which `datasets` loads files of one kind."""


@functools.cache
def training_arguments() -> tuple[str, ...]:
    """List the fields of the training section that are `TrainingArguments`'s own, without secrets."""
    ours = {"save_model_dir", "hub_token"} | TRL_ONLY
    names = [name for name, path in field_paths().items() if path.startswith("training.")]
    return tuple(name for name in names if name not in ours)


def hugging_face_rows(*without: str) -> tuple[Row, ...]:
    """Make rows for all fields of `TrainingArguments` but the ones named."""
    return same_names(*(name for name in training_arguments() if name not in without))


def read_ratio(value: Any) -> Any:
    """Read a share of all steps as `warmup_steps` below 1."""
    if not 0 <= float(value) < 1:
        raise ValueError("expected a share of all steps, at least 0, below 1")
    return float(value)


def carry_warmup(writing: Writing, steps: str, ratio: str) -> None:
    """Write `warmup_steps` as a number of steps, or where it is below 1 as a ratio."""
    value = writing.get("training.warmup_steps")
    is_share = isinstance(value, (int, float)) and 0 < value < 1
    writing.carry(Row(ratio if is_share else steps, "training.warmup_steps"))


def read_split_size(value: Any) -> Any:
    """Read the size of a held-out part: a share; a number of rows has no counterpart."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 1:
        raise NotSayable("is a number of rows; validation_fraction is a share of them")
    return value


def negated(value: Any) -> bool:
    """Turn a flag around."""
    if str(value).lower() not in ("true", "false"):
        raise ValueError("expected true or false")
    return str(value).lower() == "false"


def names_at_commas(value: Any) -> Any:
    """Read names with commas between them."""
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


def with_commas(value: Sequence[str]) -> str:
    """Write names with commas between them."""
    if any("," in name for name in value):
        raise NotSayable("a name with a comma in it cannot be written there")
    return ",".join(value)


def taken_by(path: str, why: str) -> Callable[[Any], Any]:
    """Make a conversion that passes only what the field at `path` takes; anything else has no counterpart here."""

    def read(value: Any) -> Any:
        try:
            return checked(path, value)
        except ValueError as error:
            raise NotSayable(f"{value!r} {why}") from error

    return read


def read_trackers(value: Any) -> Any:
    """Read `report_to`; `all`, and backends that are not here, have no counterpart."""
    names = [value] if isinstance(value, str) else value
    known = {"aim", "mlflow", "tensorboard", "trackio", "wandb", "none"}
    if not isinstance(names, list) or not known.issuperset(str(name) for name in names):
        raise NotSayable(f"there are the trackers {', '.join(sorted(known))}")
    return [name for name in names if name != "none"]


def write_trackers(value: Any) -> Any:
    """Write `report_to`; Hugging Face has no callback of that name for Aim."""
    if unknown := [name for name in value if name not in ("mlflow", "tensorboard", "trackio", "wandb")]:
        raise NotSayable(f"transformers reports to no {', '.join(unknown)} by name")
    return list(value) or ["none"]


REPORT_TO = Row("report_to", "tracking.trackers", read_trackers, write_trackers)


def read_sampling(value: Any) -> str:
    """Read `group_by_length` of older releases."""
    return "random" if negated(value) else "group_by_length"


def write_sampling(value: Any) -> bool:
    """Write `train_sampling_strategy` as `group_by_length` of older releases."""
    if value not in ("random", "group_by_length"):
        raise NotSayable("rows come in random order, or grouped by length")
    return value == "group_by_length"


def method_of(writing: Writing) -> str:
    """Take what is trained, as the run would resolve it: adapters where a field of theirs or 4 or 8 bits say so."""
    quantized = any(writing.get(f"quantization.load_in_{bits}bit") is True for bits in (4, 8))
    given = quantized or any(path.startswith("peft.") for path in writing.left)
    method = writing.take("peft.peft_method") or ("lora" if given else "none")
    if method in ("lora", "none"):
        return method
    writing.skip("peft.peft_method", method, "is not offered there; all weights would be trained")
    return "none"


def drop_bias(writing: Writing) -> None:
    """Count LoRA's usual `bias` as dealt with where the other side knows no other."""
    if writing.get("peft.bias") == "none":
        writing.take("peft.bias")


def builder_of(path: str) -> str | None:
    """Name the builder of `datasets` that reads a file; None for a folder or a Hub id."""
    suffixes = PurePath(path).suffixes
    for count in (2, 1):
        if found := _BUILDERS.get("".join(suffixes[-count:]).lower()):
            return found
    return None


def grouped(paths: Sequence[str]) -> list[tuple[str | None, list[str]]]:
    """Group neighbouring files that one builder reads; folders and Hub ids stand alone."""
    groups: list[tuple[str | None, list[str]]] = []
    for path in paths:
        builder = builder_of(path)
        if builder is not None and groups and groups[-1][0] == builder:
            groups[-1][1].append(path)
        else:
            groups.append((builder, [path]))
    return groups


def as_list(value: Any) -> list[Any]:
    """Return a list as it is, and one value as a list of it."""
    return list(value) if isinstance(value, list) else [value]


def take_default(reading: Reading, key: str, *values: Any) -> None:
    """Count a key as dealt with where it has one of the values that change nothing."""
    if any(reading.get(key) == value and type(reading.get(key)) is type(value) for value in values):
        reading.take(key)
