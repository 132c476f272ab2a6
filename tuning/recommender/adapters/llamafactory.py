"""LLaMA-Factory's training file, and the dataset_info.json that names its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tuning.config.ir import IR
from tuning.recommender.action import Recommendation
from tuning.recommender.adapters.adapter import Exported
from tuning.recommender.adapters.conversions import (
    REPORT_TO,
    SECRET,
    as_list,
    builder_of,
    carry_warmup,
    drop_bias,
    hugging_face_rows,
    method_of,
    names_at_commas,
    negated,
    read_ratio,
    read_sampling,
    read_split_size,
    take_default,
    with_commas,
    write_sampling,
)
from tuning.recommender.adapters.launch import (
    MACHINE_RANK,
    MAIN_PROCESS_IP,
    Expanded,
    num_machines,
    num_processes,
)
from tuning.recommender.adapters.llamafactory_parts import (
    read_bits,
    read_names,
    read_pissa,
    read_precision,
    write_bits,
    write_pissa,
    write_precision,
)
from tuning.recommender.adapters.mapping import NotSayable, Reading, Row, Writing, one_of, same_names
from tuning.recommender.adapters.table_adapter import TableAdapter

LLAMAFACTORY_FILE, DATASET_INFO_FILE = "llamafactory.yaml", "dataset_info.json"
_READ_ATTENTION, _WRITE_ATTENTION = one_of(
    {"disabled": "eager", "sdpa": "sdpa", "fa2": "flash_attention_2", "fa3": "flash_attention_3"}
)
_READ_METHOD, _ = one_of({"lora": "lora", "full": "none"}, "; there are lora and full")
_SHAREGPT_TAGS = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
_SHAPES: dict[str, dict[str, Any]] = {
    "chat": {"formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": _SHAREGPT_TAGS},
    "sharegpt": {"formatting": "sharegpt"},
    "instruction": {},
    "instruction_response": {"columns": {"prompt": "instruction", "query": "input", "response": "response"}},
    "prompt_completion": {"columns": {"prompt": "prompt", "response": "completion"}},
    "question_answering": {"columns": {"prompt": "question", "query": "context", "response": "answer"}},
    "input_output": {"columns": {"prompt": "input", "response": "output"}},
}
"""data_format -> how dataset_info.json describes such rows; without a description, columns are Alpaca's."""


def _read_targets(value: Any) -> Any:
    return "all-linear" if value in ("all", ["all"]) else names_at_commas(value)


def _write_targets(value: Any) -> str:
    if isinstance(value, str) and value != "all-linear":
        raise NotSayable("LLaMA-Factory takes names of modules, no regular expression")
    return "all" if isinstance(value, str) else with_commas(value)


class LlamaFactoryAdapter(TableAdapter):
    """LLaMA-Factory's supervised fine-tuning. Where it is not told, it trains adapters."""

    name = "llamafactory"
    title = "LLaMA-Factory"
    file_name = LLAMAFACTORY_FILE
    rows = (
        *hugging_face_rows("bf16", "fp16", "warmup_steps", "train_sampling_strategy", "use_liger_kernel"),
        *same_names("model_name_or_path", "cache_dir", "trust_remote_code", "train_from_scratch", "run_name"),
        *same_names("bf16", "fp16", "packing", "lora_alpha", "lora_dropout", "use_rslora", "use_dora"),
        Row("model_revision", "model.revision"),
        Row("flash_attn", "model.attn_implementation", _READ_ATTENTION, _WRITE_ATTENTION),
        Row("add_special_tokens", "model.add_special_tokens", names_at_commas, with_commas),
        Row("cutoff_len", "training.max_length"),
        Row("early_stopping_steps", "trainer_control.early_stopping_patience", note="evaluations without improvement"),
        Row("val_size", "data.validation_fraction", read_split_size),
        Row("train_on_prompt", "training.completion_only_loss", negated, negated),
        Row("preprocessing_num_workers", "training.dataset_num_proc"),
        Row("warmup_steps", "training.warmup_steps"),
        Row("warmup_ratio", "training.warmup_steps", read_ratio, note="a share of all steps"),
        Row("group_by_length", "training.train_sampling_strategy", read_sampling, write_sampling),
        Row("disable_gradient_checkpointing", "training.gradient_checkpointing", negated, negated),
        Row("enable_liger_kernel", "training.use_liger_kernel"),
        Row("moe_aux_loss_coef", "training.router_aux_loss_coef"),
        Row("lora_rank", "peft.r"),
        Row("lora_target", "peft.target_modules", _read_targets, _write_targets),
        Row("additional_target", "peft.modules_to_save", names_at_commas, with_commas),
        Row("quantization_type", "quantization.bnb_4bit_quant_type"),
        Row("double_quantization", "quantization.bnb_4bit_use_double_quant"),
        REPORT_TO,
    )
    not_read: Mapping[str, str] = {
        "dataset_dir": "is where dataset_info.json lies; give the rows themselves by training_data_path",
        "hf_hub_token": SECRET,
        "hub_token": SECRET,
        "infer_dtype": "is for inference",
        "mask_history": "every answer of a conversation is trained on here",
        "max_samples": "all rows are taken; give a smaller file",
        "overwrite_cache": "rows that have changed are prepared anew by themselves",
        "overwrite_output_dir": "a run goes on from its newest checkpoint; resume_from_checkpoint=false starts anew",
        "plot_loss": "trackers draw the loss",
        "resize_vocab": "embeddings grow by themselves where there are new tokens",
        "stage": "there is only supervised fine-tuning here",
        "template": "names a chat template of LLaMA-Factory; the tokenizer's own is taken here",
    }
    not_written: Mapping[str, str] = {
        "accelerate": "LLaMA-Factory starts its processes with torchrun",
        "compute": "is for the launcher",
        "data": "LLaMA-Factory is told of rows in dataset_info.json, which has no such setting",
        "model.chat_template": "LLaMA-Factory takes the name of a template of its own, or the tokenizer's",
        "model.chat_template_path": "LLaMA-Factory takes the name of a template of its own, or the tokenizer's",
        "model.dtype": "LLaMA-Factory loads weights in the type that it computes in, and trains whole ones in float32",
        "model.tokenizer_name_or_path": "LLaMA-Factory takes the model's tokenizer",
        "quantization.bnb_4bit_compute_dtype": "LLaMA-Factory computes in bf16 or fp16, as these fields say",
        "training.hub_token": SECRET,
        "training.save_model_dir": "LLaMA-Factory saves the model in output_dir",
    }

    def recognises(self, document: Mapping[str, Any]) -> bool:
        """Tell whether the document says a stage, a finetuning_type or a cutoff_len."""
        return bool({"finetuning_type", "cutoff_len", "stage"} & document.keys()) and "base_model" not in document

    def read_first(self, reading: Reading) -> None:
        """Read the method, quantization, precision, packing, initialisation and rows, each from several keys."""
        for key, value in (("stage", "sft"), ("do_train", True), ("flash_attn", "auto"), ("mask_history", False)):
            take_default(reading, key, value)
        if reading.get("finetuning_type") is None:
            reading.left["finetuning_type"] = "lora"
        reading.carry(Row("finetuning_type", "peft.peft_method", _READ_METHOD))
        read_bits(reading)
        read_precision(reading)
        read_pissa(reading)
        if (reentrant := reading.take("use_reentrant_gc")) is not None:
            reading.put("training.gradient_checkpointing_kwargs", {"use_reentrant": reentrant}, "use_reentrant_gc")
        if str(reading.get("neat_packing")).lower() == "true":
            reading.take("neat_packing")
            reading.take("packing")
            reading.put("training.packing", True, "neat_packing")
            reading.put("training.packing_strategy", "bfd", "neat_packing")
        for key, path in (("dataset", "data.training_data_path"), ("eval_dataset", "data.validation_data_path")):
            read_names(reading, key, path)

    def write_first(self, writing: Writing) -> None:
        """Write what several fields say together; rows are named by their paths, as in dataset_info.json."""
        method = method_of(writing)
        writing.document |= {
            "stage": "sft",
            "do_train": True,
            "finetuning_type": "full" if method == "none" else method,
        }
        drop_bias(writing)
        write_bits(writing)
        write_precision(writing, method)
        write_pissa(writing)
        if list(writing.get("training.gradient_checkpointing_kwargs") or ()) == ["use_reentrant"]:
            given = writing.take("training.gradient_checkpointing_kwargs")
            writing.put("use_reentrant_gc", given["use_reentrant"])
        if writing.get("training.packing") is True and writing.get("training.packing_strategy") == "bfd":
            writing.take("training.packing")
            writing.take("training.packing_strategy")
            writing.put("neat_packing", True)
        carry_warmup(writing, "warmup_steps", "warmup_ratio")
        for key, path in (("dataset", "data.training_data_path"), ("eval_dataset", "data.validation_data_path")):
            if (paths := writing.take(path)) is not None:
                writing.carry_value(path, paths, key, lambda names: with_commas(as_list(names)))
                writing.put("dataset_dir", ".")

    def write(self, ir: IR, recommendations: Sequence[Recommendation] = ()) -> Exported:
        """Write the training file, and dataset_info.json with an entry for each file, folder or Hub id."""
        made = super().write(ir, recommendations)
        paths = [*as_list(ir.get("data.training_data_path", [])), *as_list(ir.get("data.validation_data_path", []))]
        info = {path: _entry(path, ir) for path in paths}
        shape = ["data.data_format"] if ir.get("data.data_format") in _SHAPES else []
        said = ["data.dataset_split", *shape] if info else []
        lost = tuple(item for item in made.unmapped if item.key not in said)
        files = {**made.files, **({DATASET_INFO_FILE: info} if info else {})}
        return Exported(files, made.launch_command, lost)

    def launch_command(self, ir: IR) -> list[str]:
        """Start `llamafactory-cli train`, with torchrun's variables where there are several processes."""
        words = ["llamafactory-cli", "train", LLAMAFACTORY_FILE]
        processes, machines = num_processes(ir), num_machines(ir)
        if processes == 1:
            return words
        names = {"FORCE_TORCHRUN": 1, "NPROC_PER_NODE": processes // machines}
        if machines > 1:
            names |= {"NNODES": machines}
        others = Expanded(f"NODE_RANK={MACHINE_RANK}"), Expanded(f"MASTER_ADDR={MAIN_PROCESS_IP}")
        return ["env", *(f"{name}={value}" for name, value in names.items()), *(others if machines > 1 else ()), *words]


def _entry(path: str, ir: IR) -> dict[str, Any]:
    where = {"file_name": path} if builder_of(path) or path.startswith((".", "/", "~")) else {"hf_hub_url": path}
    shape = _SHAPES.get(str(ir.get("data.data_format")), {})
    split = ir.get("data.dataset_split")
    return {**where, **shape, **({"split": split} if split is not None else {})}
