"""Settings of axolotl that several keys say together: adapters, precision, attention, cadence, trackers, FSDP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuning.recommender.adapters.conversions import as_list, drop_bias, method_of
from tuning.recommender.adapters.mapping import Reading, Writing

_ATTENTION = {
    "flash_attention": "flash_attention_2",
    "sdp_attention": "sdpa",
    "eager_attention": "eager",
    "flex_attention": "flex_attention",
}
_HALF = ("bf16", "fp16")
_PURE = {"bfloat16": "bfloat16", "float16": "float16", "float32": "float32"}
"""Keys that choose the weights' type without mixed precision."""
_TRACKERS = {"use_mlflow": "mlflow", "use_tensorboard": "tensorboard", "use_wandb": "wandb"}
_OF_TRACKERS = {
    "wandb": ("tracking.wandb_project", "tracking.wandb_entity", "tracking.wandb_mode"),
    "mlflow": ("tracking.mlflow_tracking_uri", "tracking.mlflow_experiment"),
}
_OLD_FSDP: dict[str, dict[str, Any]] = {
    "full_shard": {"fsdp_sharding_strategy": "FULL_SHARD"},
    "shard_grad_op": {"fsdp_sharding_strategy": "SHARD_GRAD_OP"},
    "offload": {"fsdp_offload_params": True},
    "auto_wrap": {},
}


def is_on(value: Any) -> bool:
    """Tell whether a flag is set, also where it was written as text."""
    return str(value).lower() == "true"


def is_flag(value: Any) -> bool:
    """Tell whether a value is true or false, also where it was written as text."""
    return str(value).lower() in ("true", "false")


def read_adapter(reading: Reading) -> None:
    """Read the method and the quantization; all linear layers already hold the modules that are named beside them."""
    adapter = reading.take("adapter") or "none"
    if adapter in ("none", "lora", "qlora"):
        reading.put("peft.peft_method", "none" if adapter == "none" else "lora", "adapter")
    else:
        reading.skip("adapter", adapter, "there are lora and qlora")
    if adapter == "qlora":
        reading.put("quantization.load_in_4bit", True, "adapter")
    for name in ("load_in_4bit", "load_in_8bit"):
        if (value := reading.take(name)) is not None:
            reading.put(f"quantization.{name}", is_on(value) if is_flag(value) else value, name)
    if not is_flag(linear := reading.get("lora_target_linear")):
        return
    reading.take("lora_target_linear")
    if is_on(linear):
        reading.put("peft.target_modules", "all-linear", "lora_target_linear")
        if (more := reading.take("lora_target_modules")) and more != "all-linear":
            reading.skip("lora_target_modules", more, "lora_target_linear adapts every linear layer")


def write_adapter(writing: Writing) -> None:
    """Write the method and the quantization."""
    method = method_of(writing)
    four_bit = writing.get("quantization.load_in_4bit") is True
    if method == "lora":
        writing.put("adapter", "qlora" if four_bit else "lora")
    for name in ("load_in_4bit", "load_in_8bit"):
        if (value := writing.take(f"quantization.{name}")) is not None:
            writing.put(name, value)
    if writing.get("peft.target_modules") == "all-linear":
        writing.take("peft.target_modules")
        writing.put("lora_target_linear", True)
    drop_bias(writing)


def read_precision(reading: Reading) -> None:
    """Read mixed precision, and derive the weights' type as axolotl does; `bf16: auto` decides nothing."""
    given = {key: reading.get(key) for key in (*_HALF, *_PURE)}
    dtype, key = _dtype(given, reading.values.get("quantization", {}).get("load_in_8bit") is True)
    for name in _HALF:
        if is_flag(given[name]):
            reading.put(f"training.{name}", is_on(reading.take(name)), name)
    if is_on(given["fp16"]) and given["bf16"] == "auto":
        reading.take("bf16")
    for name in _PURE:
        if is_flag(given[name]):
            reading.take(name)
    if dtype is not None:
        reading.put("model.dtype", dtype, key)


def write_precision(writing: Writing) -> None:
    """Write mixed precision, and the weights' type where axolotl can be told of it."""
    half = {key: writing.take(f"training.{key}") for key in _HALF}
    written = {key: value for key, value in half.items() if value is not None}
    eight_bit = writing.document.get("load_in_8bit") is True
    dtype = writing.get("model.dtype")
    for pure in ({}, *({name: True} for name in _PURE)):
        if dtype is not None and _dtype({**written, **pure}, eight_bit)[0] == dtype:
            writing.take("model.dtype")
            written |= pure
            break
    writing.document |= written


def _dtype(given: Mapping[str, Any], eight_bit: bool) -> tuple[str | None, str]:
    """Return the type that axolotl loads weights in and the key that decides it; None: as the device has it."""
    on = [key for key in (*_HALF, *_PURE) if is_on(given.get(key))]
    settled = is_flag(given.get("bf16")) or "fp16" in on
    if (key := next((name for name in on if name in ("bf16", "bfloat16")), None)) is not None:
        return "bfloat16", key
    if not settled:
        return None, ""
    if (key := next((name for name in on if name in ("fp16", "float16")), None)) is not None:
        return "float16", key
    return ("float16", "load_in_8bit") if eight_bit else ("float32", "bf16")


def read_attention(reading: Reading) -> None:
    """Read the attention kernel, which has a flag for each name."""
    for key, kernel in _ATTENTION.items():
        if is_flag(value := reading.get(key)):
            reading.take(key)
            if is_on(value):
                reading.put("model.attn_implementation", kernel, key)
    if (kernel := reading.take("attn_implementation")) is not None:
        reading.put("model.attn_implementation", kernel, "attn_implementation")


def write_attention(writing: Writing) -> None:
    """Write the attention kernel by its flag, where it has one."""
    fast = writing.take("model.use_flash_attn")
    kernel = writing.take("model.attn_implementation")
    if kernel is None and fast is not None:
        kernel = "flash_attention_2" if fast else "sdpa"
    flags = [key for key, name in _ATTENTION.items() if name == kernel]
    if kernel is not None:
        writing.document |= {flags[0]: True} if flags else {"attn_implementation": kernel}


def read_cadence(reading: Reading) -> None:
    """Read how often per epoch; axolotl evaluates only where rows are held out, and by steps where these are given."""
    held_out = reading.get("val_set_size") not in (None, 0, 0.0) or bool(reading.get("test_datasets"))
    if (count := reading.get("evals_per_epoch")) is not None and not held_out:
        reading.skip("evals_per_epoch", reading.take("evals_per_epoch"), "nothing is evaluated without held-out rows")
    for name, key in (("eval", "evals_per_epoch"), ("save", "saves_per_epoch")):
        if (count := reading.take(key)) is not None:
            _read_per_epoch(reading, name, key, count)
    if held_out and reading.get("eval_steps") is not None and reading.get("eval_strategy") is None:
        reading.put("training.eval_strategy", "steps", "eval_steps")


def _read_per_epoch(reading: Reading, name: str, key: str, count: Any) -> None:
    epochs = reading.get("num_epochs")
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        reading.refuse(key, count, "expected a whole number, at least 0")
    elif count <= 1:
        reading.put(f"training.{name}_strategy", "epoch" if count else "no", key)
    elif not isinstance(epochs, (int, float)) or epochs <= 0:
        reading.skip(key, count, "needs num_epochs to become a share of all steps")
    else:
        reading.put(f"training.{name}_strategy", "steps", key)
        reading.put(f"training.{name}_steps", 1 / (count * epochs), key)


def read_trackers(reading: Reading) -> None:
    """Read the trackers: by their flags, or by a setting that turns one on."""
    found = {name for key, name in _TRACKERS.items() if is_on(reading.get(key))}
    found |= {"wandb"} if reading.get("wandb_project") else set()
    found |= {"mlflow"} if reading.get("mlflow_tracking_uri") else set()
    for key in _TRACKERS:
        if is_flag(reading.get(key)):
            reading.take(key)
    if found:
        reading.put("tracking.trackers", sorted(found), "use_wandb")


def write_trackers(writing: Writing) -> None:
    """Write the trackers; the settings of one that is not used would turn it on, so they stay away."""
    names = writing.take("tracking.trackers")
    if names is not None and (not names or not set(names) <= set(_TRACKERS.values())):
        writing.skip("tracking.trackers", names, f"axolotl has {', '.join(_TRACKERS.values())}, or leaves them out")
        names = []
    for key, name in _TRACKERS.items():
        if name in (names or ()):
            writing.put(key, True)
    for name, paths in _OF_TRACKERS.items():
        for path in paths if name not in (names or ()) else ():
            if (value := writing.take(path)) is not None:
                writing.skip(path, value, f"would turn {name} on in axolotl; add it to trackers")


def read_fsdp(reading: Reading) -> None:
    """Read FSDP's settings as accelerate's, whose names only start with fsdp_."""
    words, version, given = as_list(reading.get("fsdp") or []), reading.get("fsdp_version"), reading.get("fsdp_config")
    if not isinstance(given, (Mapping, type(None))) or not {str(word) for word in words} <= _OLD_FSDP.keys():
        key = "fsdp_config" if not isinstance(given, (Mapping, type(None))) else "fsdp"
        reading.refuse(key, reading.get(key), "expected an object" if key == "fsdp_config" else "expected FSDP's words")
        return
    if not words and not given:
        return
    settings: dict[str, Any] = {} if version is None else {"fsdp_version": version}
    for word in words:
        settings |= _OLD_FSDP[word]
    settings |= {key if key.startswith("fsdp_") else f"fsdp_{key}": value for key, value in (given or {}).items()}
    for key in ("fsdp", "fsdp_version", "fsdp_config"):
        reading.left.pop(key, None)
    reading.put("accelerate", {"distributed_type": "FSDP", "fsdp_config": settings}, "fsdp_config")


def write_fsdp(writing: Writing) -> None:
    """Write FSDP's settings; what else accelerate is told is for the launcher."""
    given = writing.get("accelerate") or {}
    settings = given.get("fsdp_config")
    if given.get("distributed_type") != "FSDP" or not isinstance(settings, Mapping) or not settings:
        return
    writing.take("accelerate")
    inner = {key.removeprefix("fsdp_"): value for key, value in settings.items() if key != "fsdp_version"}
    if "fsdp_version" in settings:
        writing.document["fsdp_version"] = settings["fsdp_version"]
    writing.document["fsdp_config"] = inner
    for key in (key for key in given if key not in ("distributed_type", "fsdp_config")):
        writing.skip(f"accelerate.{key}", given[key], "is for the launcher")
