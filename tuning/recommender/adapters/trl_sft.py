"""TRL's `trl sft --config` file: the names of SFTConfig, ScriptArguments, ModelConfig and DatasetMixtureConfig."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tuning.config.ir import IR
from tuning.recommender.action import Recommendation
from tuning.recommender.adapters.accelerate_file import ACCELERATE_FILE, AccelerateAdapter
from tuning.recommender.adapters.adapter import Exported
from tuning.recommender.adapters.conversions import (
    BUILDERS,
    REPORT_TO,
    SECRET,
    TRL_ONLY,
    as_list,
    drop_bias,
    grouped,
    hugging_face_rows,
    method_of,
    read_ratio,
    read_sampling,
    take_default,
)
from tuning.recommender.adapters.launch import num_processes
from tuning.recommender.adapters.mapping import Reading, Row, Writing, one_of, same_names
from tuning.recommender.adapters.table_adapter import TableAdapter

TRL_FILE = "trl_sft.yaml"
_BY_COLUMNS = "TRL tells the shape of rows by their columns: messages, prompt and completion, or text"


def _read_modules(value: Any) -> Any:
    """Read a list as TRL does, which takes the only name out of a list, so that PEFT reads it as an expression."""
    if isinstance(value, list) and len(value) == 1:
        return value[0]
    return list(dict.fromkeys(value)) if isinstance(value, list) else value


def _write_modules(value: Any) -> list[str]:
    """Write a list that TRL leaves a list: a single name stands twice."""
    names = as_list(value)
    return names * 2 if isinstance(value, list) and len(names) == 1 else names


class TrlAdapter(TableAdapter):
    """`trl sft`; the held-out rows of TRL are a split of the same Hub dataset, or a share of the mixture."""

    name = "trl"
    title = "trl sft"
    file_name = TRL_FILE
    rows = (
        *hugging_face_rows(),
        *same_names(*sorted(TRL_ONLY)),
        *same_names("model_name_or_path", "dtype", "attn_implementation", "trust_remote_code", "chat_template_path"),
        *same_names("dataset_text_field", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "run_name"),
        Row("torch_dtype", "model.dtype", note="older name"),
        Row("max_seq_length", "training.max_length", note="older name"),
        Row("warmup_ratio", "training.warmup_steps", read_ratio, note="older name; a share of all steps"),
        Row("group_by_length", "training.train_sampling_strategy", read_sampling, note="older name"),
        Row("evaluation_strategy", "training.eval_strategy", note="older name"),
        Row("model_revision", "model.revision"),
        Row("lora_r", "peft.r"),
        Row("lora_target_modules", "peft.target_modules", _read_modules, _write_modules),
        Row("lora_modules_to_save", "peft.modules_to_save"),
        Row("load_in_4bit", "quantization.load_in_4bit"),
        Row("load_in_8bit", "quantization.load_in_8bit"),
        Row("bnb_4bit_quant_type", "quantization.bnb_4bit_quant_type"),
        Row("use_bnb_nested_quant", "quantization.bnb_4bit_use_double_quant"),
        REPORT_TO,
    )
    not_read: Mapping[str, str] = {
        "dataset_config": "a Hub dataset is taken by its name alone",
        "dataset_test_split": "held-out rows are given by validation_data_path or validation_fraction",
        "env": "set environment variables where the run starts",
        "hub_token": SECRET,
        "lora_target_parameters": "adapters go to modules, which target_modules names",
        "lora_task_type": "only causal language models are trained",
    }
    not_written: Mapping[str, str] = {
        "compute": "is for the launcher; see accelerate.yaml",
        "data.data_format": _BY_COLUMNS,
        "data.dataset_conversation_field": _BY_COLUMNS,
        "data.data_formatter_template": _BY_COLUMNS,
        "data.response_template": _BY_COLUMNS,
        "data.validation_data_path": "trl sft holds out a share of the rows, or takes a split of the same Hub dataset",
        "model.chat_template": "trl sft takes a file: chat_template_path",
        "model.tokenizer_name_or_path": "trl sft takes the model's tokenizer",
        "training.hub_token": SECRET,
        "training.save_model_dir": "trl sft saves the model in output_dir",
    }

    def recognises(self, document: Mapping[str, Any]) -> bool:
        """Tell whether the document is flat and names rows or adapters as only TRL does."""
        alone = {"dataset_name", "use_peft", "lora_target_modules", "use_bnb_nested_quant", "dataset_train_split"}
        rows = "training_data_path" in document or "base_model" in document
        is_mixture = isinstance(document.get("datasets"), list)
        return "model_name_or_path" in document and not rows and (is_mixture or bool(alone & document.keys()))

    def read_first(self, reading: Reading) -> None:
        """Read the method, the rows, and the type that 4-bit weights are multiplied in, which is the model's."""
        use_peft = reading.take("use_peft")
        reading.put("peft.peft_method", "lora" if str(use_peft).lower() == "true" else "none", "use_peft")
        take_default(reading, "lora_task_type", "CAUSAL_LM")
        take_default(reading, "dataset_streaming", False)
        take_default(reading, "streaming", False)
        dtype = reading.get("dtype")
        if reading.get("load_in_4bit") is True and dtype not in (None, "auto"):
            reading.put("quantization.bnb_4bit_compute_dtype", dtype, "dtype")
        _read_rows(reading)

    def write_first(self, writing: Writing) -> None:
        """Write the method, the attention kernel and the rows."""
        if method_of(writing) == "lora":
            writing.put("use_peft", True)
        else:
            writing.put("use_peft", False)
        drop_bias(writing)
        four_bit = writing.get("quantization.load_in_4bit") is True
        if four_bit and writing.get("quantization.bnb_4bit_compute_dtype") == writing.get("model.dtype"):
            writing.take("quantization.bnb_4bit_compute_dtype")
        if writing.get("model.attn_implementation") is None:
            _, word = one_of({"flash_attention_2": True, "sdpa": False})
            writing.carry(Row("attn_implementation", "model.use_flash_attn", write=word))
        _write_rows(writing)

    def write(self, ir: IR, recommendations: Sequence[Recommendation] = ()) -> Exported:
        """Write TRL's file, and accelerate's beside it where there are several processes."""
        made = super().write(ir, recommendations)
        if num_processes(ir) == 1:
            return made
        lost = tuple(item for item in made.unmapped if item.key.partition(".")[0] not in ("accelerate", "compute"))
        beside = AccelerateAdapter().write(ir)
        more = tuple(item for item in beside.unmapped if item.key.startswith(("accelerate.", "compute.")))
        return Exported({**made.files, **beside.files}, made.launch_command, lost + more)

    def launch_command(self, ir: IR) -> list[str]:
        """Start `trl sft`, over accelerate's file where there are several processes."""
        several = ["--accelerate_config", ACCELERATE_FILE] if num_processes(ir) > 1 else []
        return ["trl", "sft", "--config", TRL_FILE, *several]


def _read_rows(reading: Reading) -> None:
    """Read the mixture, or else the one dataset; TRL takes no notice of the other."""
    name, split = reading.take("dataset_name"), reading.take("dataset_train_split")
    mixture, share = reading.take("datasets"), reading.take("test_split_size")
    if mixture:
        if name is not None:
            reading.skip("dataset_name", name, "trl takes no notice of it beside datasets")
        paths = _read_mixture(reading, mixture)
        if share is not None:
            reading.put("data.validation_fraction", share, "test_split_size")
    else:
        paths = [] if name is None else [name]
        if share is not None:
            reading.skip("test_split_size", share, "trl splits only datasets")
        if split is not None:
            reading.put("data.dataset_split", split, "dataset_train_split")
    if paths:
        reading.put("data.training_data_path", paths, "datasets" if mixture else "dataset_name")


def _read_mixture(reading: Reading, mixture: Any) -> list[str]:
    if not isinstance(mixture, list) or not all(isinstance(item, Mapping) and item.get("path") for item in mixture):
        reading.refuse("datasets", mixture, "expected a list of objects with a path")
        return []
    paths: list[str] = []
    for index, item in enumerate(mixture):
        entry = {key: value for key, value in item.items() if value is not None}
        path, files, folder = str(entry.pop("path")), entry.pop("data_files", None), entry.pop("data_dir", None)
        if path in BUILDERS and isinstance(files, (str, list)):
            paths += as_list(files)
        elif path in BUILDERS and isinstance(folder, str):
            paths.append(folder)
        else:
            paths.append(path)
            entry |= {key: value for key, value in (("data_files", files), ("data_dir", folder)) if value is not None}
        if (split := entry.get("split")) is not None and all(other.get("split") == split for other in mixture):
            reading.put("data.dataset_split", entry.pop("split"), "datasets[].split")
        for key, value in entry.items():
            reading.skip(f"datasets[{index}].{key}", value, "rows are taken whole, by path")
    return paths


def _write_rows(writing: Writing) -> None:
    """Write one Hub id or folder as dataset_name, and files, several or a held-out share as a mixture."""
    paths = writing.take("data.training_data_path")
    if paths is None:
        return
    groups, share = grouped(as_list(paths)), writing.take("data.validation_fraction")
    split = writing.take("data.dataset_split")
    if len(groups) == 1 and groups[0][0] is None and share is None:
        writing.put("dataset_name", groups[0][1][0])
        if split is not None:
            writing.put("dataset_train_split", split)
        return
    writing.put("datasets", [_entry(builder, files, split) for builder, files in groups])
    if share is not None:
        writing.put("test_split_size", share)


def _entry(builder: str | None, files: list[str], split: str | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"path": files[0]} if builder is None else {"path": builder, "data_files": files}
    return entry if split is None else {**entry, "split": split}
