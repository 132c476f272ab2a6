"""Every spelling that a configuration key may have, and the place in the document that it stands for."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tuning.config.acceleration_flags import FLAGS, settings_of_flag
from tuning.config.autotuning_names import settings_of_autotuning
from tuning.config.launch_arguments import FSDP_SWITCH, LAUNCH_ARGUMENTS, settings_of_launch_arguments
from tuning.config.schema import TuningConfig, sections
from tuning.registry import did_you_mean


@dataclass(frozen=True)
class Alias:
    """Another name of a field, with the change of value that it needs, if any."""

    name: str
    convert: Callable[[Any], Any] = lambda value: value


def _ratio(value: Any) -> Any:
    """Read a ratio as `warmup_steps` below 1, which transformers 5 takes as a share of all steps."""
    try:
        return value if 0 <= float(value) < 1 else f"{value} (as a ratio, 0 to 1)"
    except (TypeError, ValueError):
        return value


def _by_length(value: Any) -> Any:
    return {"true": "group_by_length", "false": None}.get(str(value).lower(), value)


ALIASES: dict[str, Alias] = {
    "eval_dataset_path": Alias("validation_data_path"),
    "evaluation_strategy": Alias("eval_strategy"),
    "exp_metadata": Alias("metadata"),
    "gpus": Alias("num_gpus_per_node"),
    "group_by_length": Alias("train_sampling_strategy", _by_length),
    "lora_r": Alias("r"),
    "lora_target_modules": Alias("target_modules"),
    "max_seq_length": Alias("max_length"),
    "model_max_length": Alias("max_length"),
    "no_cuda": Alias("use_cpu"),
    "report_to": Alias("trackers"),
    "torch_dtype": Alias("dtype"),
    "tracker": Alias("trackers"),
    "warmup_ratio": Alias("warmup_steps", _ratio),
}
"""Names that fms-hf-tuning and older Hugging Face releases use for fields of ours."""

RETIRED: dict[str, str] = {
    "fp16_opt_level": "apex is gone from transformers 5",
    "half_precision_backend": "transformers 5 has one backend",
    "include_tokens_per_second": "tokens per second are always tracked",
    "logging_dir": "trackers choose their own folders; see tracking",
    "overwrite_output_dir": "a run goes on from its newest checkpoint; resume_from_checkpoint=false starts anew",
    "project": "the tracking section names the project; see experiment",
    "save_safetensors": "weights are always saved as safetensors",
    "training_logs_filename": "the run folder's tracking/events.jsonl is the log",
    "use_legacy_prediction_loop": "it is gone from transformers 5",
    "use_mps_device": "the device is found by itself",
}
"""Names that old configurations may hold and that change nothing today, with the reason."""


MEANT: dict[str, str] = {
    "batch_size": "per_device_train_batch_size",
    "dataset": "training_data_path",
    "device": "use_cpu",
    "epochs": "num_train_epochs",
    "eval_batch_size": "per_device_eval_batch_size",
    "flash_attention": "use_flash_attn",
    "lora_rank": "r",
    "lr": "learning_rate",
    "micro_batch_size": "per_device_train_batch_size",
    "model": "model_name_or_path",
    "model_directory": "model_name_or_path",
    "num_epochs": "num_train_epochs",
    "per_device_batch_size": "per_device_train_batch_size",
    "rank": "r",
    "scheduler": "lr_scheduler_type",
    "sequence_len": "max_length",
    "train_batch_size": "per_device_train_batch_size",
    "train_file": "training_data_path",
    "val_data_path": "validation_data_path",
}
"""What people write, and other programs read, for fields whose names look quite different."""


MEANT_VALUES: dict[str, dict[str, str]] = {
    "peft.peft_method": {"qlora": "Did you mean 'lora', with load_in_4bit=true? The recipe qlora_finetune sets both."},
}
"""What people write for values that are said otherwise here."""


@functools.cache
def field_paths() -> Mapping[str, str]:
    """Map every flat field name to its path: `learning_rate` to `training.learning_rate`."""
    paths = {name: f"{section}.{name}" for section, kind in sections().items() for name in kind.model_fields}
    return paths | {name: name for name in TuningConfig.model_fields if name not in sections()}


def known_names() -> list[str]:
    """List every spelling that is understood, for suggestions."""
    return [*field_paths(), *ALIASES, *FLAGS, *sections()]


def suggestion(name: str) -> str | None:
    """Name the field that a misspelt one stands for, or those with names like it; None: none has."""
    if (meant := MEANT.get(name.lower().replace("-", "_"))) is not None:
        return f"Did you mean '{meant}'?"
    hint = did_you_mean(name, known_names())
    return hint if hint.startswith("Did") else None


@dataclass(frozen=True)
class Setting:
    """One key as it was written, the path that it stands for (None: unknown) and its value."""

    written: str
    path: str | None
    value: Any


def settings(document: Mapping[str, Any], prefix: str = "") -> Iterator[Setting]:
    """Resolve the keys of a document, flat or in sections, to the paths of fields."""
    for key, value in document.items():
        written = f"{prefix}{key}"
        if not prefix and key in sections() and (value is None or isinstance(value, Mapping)):
            yield from settings(value or {}, f"{key}.")
        elif not prefix and isinstance(key, str) and "." in key:
            yield dotted(key, value)
        elif prefix in ("", "acceleration.") and (flag := settings_of_flag(str(key), value)) is not None:
            yield from (Setting(written, path, each) for path, each in flag)
        elif not prefix and (theirs := settings_of_autotuning(str(key), value)) is not None:
            yield from (Setting(written, path, each) for path, each in theirs)
        elif not prefix and key == LAUNCH_ARGUMENTS and isinstance(value, Mapping):
            found = settings_of_launch_arguments(value)
            yield from (Setting(f"{key}.{name}", path, each) for name, path, each in found)
        elif not prefix and key == FSDP_SWITCH:
            found = settings_of_launch_arguments({"use_fsdp": value})
            yield from (Setting(written, path, each) for _, path, each in found)
        else:
            yield _setting(written, str(key), value, prefix.rstrip("."))


def path_of(key: str) -> str | None:
    """Return the path that a key stands for, in any of its spellings, or None where it is unknown or a section."""
    found = next(iter(settings({key: None})), None)
    return None if found is None else found.path


def dotted(key: str, value: Any) -> Setting:
    """Resolve `section.field`, `field.inner` or `section.field.inner` as written on a command line."""
    head, _, rest = key.partition(".")
    if head not in sections():
        found = _setting(key, head, value, "")
        return Setting(key, found.path and f"{found.path}.{rest}", value)
    name, _, inner = rest.partition(".")
    found = _setting(key, name, value, head)
    return Setting(key, f"{found.path}.{inner}" if found.path and inner else found.path, found.value)


def _setting(written: str, name: str, value: Any, section: str) -> Setting:
    alias = ALIASES.get(name)
    if alias is not None:
        name, value = alias.name, alias.convert(value)
    path = field_paths().get(name)
    if path is not None and section and not path.startswith(f"{section}."):
        path = None
    return Setting(written, path, value)
