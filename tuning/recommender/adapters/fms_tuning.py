"""fms-hf-tuning's tuning file: flat, with most names as here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tuning.config.ir import IR
from tuning.config.names import field_paths
from tuning.errors import ConfigError
from tuning.recommender.adapters.adapter import Imported
from tuning.recommender.adapters.mapping import NotSayable, Reading, Row, Writing
from tuning.recommender.adapters.native import NativeAdapter

NOT_READ = {
    "additional_data_handlers": "handlers are Python code; give data_formatter_template or a data_format",
    "data_config_path": "names another file; give that file itself",
}
"""Keys of the tuning file without a counterpart here, with the reason."""
_METHODS = {"lora": "lora", "alora": "alora", "pt": "pt", "ia3": "ia3", "none": "none", "full": "none"}


def _read_method(value: Any) -> str:
    word = str(value).lower()
    if word not in _METHODS:
        raise NotSayable(f"{value!r} is not trained here; there are lora, alora, pt, ia3 and none")
    return _METHODS[word]


def _write_method(value: Any) -> Any:
    if value == "ia3":
        raise NotSayable("fms-hf-tuning has no (IA)³")
    return value


def _read_padding_free(value: Any) -> bool:
    if value not in (True, False, "huggingface", ["huggingface"]):
        raise NotSayable(f"the method {value!r} is not known here; there is huggingface")
    return bool(value)


def _write_padding_free(value: Any) -> list[str]:
    if value is not True:
        raise NotSayable("fms-hf-tuning leaves the key out instead")
    return ["huggingface"]


def _write_trackers(value: Any) -> Any:
    if unknown := [name for name in value if name not in ("aim", "mlflow")]:
        raise NotSayable(f"fms-hf-tuning has no tracker {', '.join(unknown)}")
    return value or ["none"]


def _write_modules(value: Any) -> Any:
    if isinstance(value, str) and value != "all-linear":
        raise NotSayable("fms-hf-tuning takes names of modules, no regular expression")
    return [value] if isinstance(value, str) else value


ROWS = (
    Row("peft_method", "peft.peft_method", _read_method, _write_method),
    Row("torch_dtype", "model.dtype"),
    Row("max_seq_length", "training.max_length"),
    Row("padding_free", "training.padding_free", _read_padding_free, _write_padding_free),
    Row("target_modules", "peft.target_modules", write=_write_modules),
    Row("trackers", "tracking.trackers", write=_write_trackers),
    Row("exp_metadata", "metadata", write=json.dumps, note="JSON text there"),
)
"""The settings of the tuning file that are named or written in another way; all others have the same names."""
_SECTIONS = ("training", "peft")
_SAME_NAMES = (
    *("model_name_or_path", "tokenizer_name_or_path", "use_flash_attn", "embedding_size_multiple_of"),
    *("add_special_tokens", "chat_template", "cache_dir", "training_data_path", "validation_data_path"),
    *("dataset_text_field", "dataset_conversation_field", "data_formatter_template"),
    *(
        "response_template",
        "instruction_template",
        "run_name",
        "experiment",
        "mlflow_experiment",
        "mlflow_tracking_uri",
    ),
    *("aim_repo", "aim_remote_server_ip", "aim_remote_server_port", "aim_url", "trainer_controller_config_file"),
)


def read_tuning(document: Mapping[str, Any], source: str) -> Imported:
    """Read the tuning file: its own names, and any of ours.

    Raises:
        ConfigError: with every value that cannot be used.
    """
    reading = Reading(document, source)
    strategy, method = reading.take("tuning_strategy"), reading.get("peft_method")
    if strategy is not None and method is None:
        reading.left["peft_method"] = strategy
    _read_bitsandbytes(reading)
    for row in ROWS:
        reading.carry(row)
    for key in [key for key in reading.left if key in NOT_READ]:
        reading.skip(key, reading.left.pop(key), NOT_READ[key])
    problems, rest = reading.problems, Imported(IR())
    try:
        rest = NativeAdapter().read(reading.left, source)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(problems)
    ir = rest.ir.merge(reading.values, source)
    return Imported(ir, (*reading.unmapped, *rest.unmapped))


def _read_bitsandbytes(reading: Reading) -> None:
    """Read fms-acceleration's 4-bit plugin: `[quant_type, no_peft_model]`."""
    key = "bitsandbytes" if reading.get("bitsandbytes") is not None else "bnb_qlora"
    value = reading.take(key)
    if value is None:
        return
    reading.put("quantization.load_in_4bit", True, key)
    kind = value[0] if isinstance(value, list) and value else value
    reading.put("quantization.bnb_4bit_quant_type", kind if isinstance(kind, str) else "nf4", key)


def write_tuning(writing: Writing) -> None:
    """Write the tuning file from what the other files have left."""
    if writing.get("quantization.load_in_4bit") is True:
        writing.take("quantization.load_in_4bit")
        writing.put("bitsandbytes", [writing.take("quantization.bnb_4bit_quant_type") or "nf4"])
    warmup = writing.get("training.warmup_steps")
    if isinstance(warmup, float) and 0 < warmup < 1:
        writing.carry(Row("warmup_ratio", "training.warmup_steps"))
    for row in (*ROWS, *_same_named(writing)):
        writing.carry(row)


def _same_named(writing: Writing) -> Iterator[Row]:
    paths = field_paths()
    for name in _SAME_NAMES:
        yield Row(name, paths[name])
    for path in [path for path in writing.left if path.partition(".")[0] in _SECTIONS and path in paths.values()]:
        if path != "training.hub_token":
            yield Row(path.partition(".")[2], path)
