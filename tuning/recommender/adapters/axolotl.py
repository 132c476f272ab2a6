"""axolotl's configuration file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuning.config.ir import IR
from tuning.recommender.adapters.axolotl_parts import (
    is_on,
    read_adapter,
    read_attention,
    read_cadence,
    read_fsdp,
    read_precision,
    read_trackers,
    write_adapter,
    write_attention,
    write_fsdp,
    write_precision,
    write_trackers,
)
from tuning.recommender.adapters.axolotl_rows import read_rows, write_rows
from tuning.recommender.adapters.conversions import (
    SECRET,
    carry_warmup,
    negated,
    read_ratio,
    read_sampling,
    read_split_size,
    taken_by,
    training_arguments,
    write_sampling,
)
from tuning.recommender.adapters.launch import accelerate_launch, num_processes
from tuning.recommender.adapters.mapping import NotSayable, Reading, Row, Writing, one_of, same_names
from tuning.recommender.adapters.table_adapter import TableAdapter

AXOLOTL_FILE = "axolotl.yaml"
_SAME = frozenset(
    {
        *("gradient_accumulation_steps", "learning_rate", "weight_decay", "optim_args", "optim_target_modules"),
        *("adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm", "max_steps", "seed", "logging_steps"),
        *("eval_steps", "save_steps", "save_total_limit", "load_best_model_at_end", "save_only_model", "tf32"),
        *("metric_for_best_model", "greater_is_better", "neftune_noise_alpha", "auto_find_batch_size"),
        *("dataloader_pin_memory", "dataloader_num_workers", "dataloader_prefetch_factor", "dataloader_drop_last"),
        *("remove_unused_columns", "ddp_timeout", "ddp_bucket_cap_mb", "ddp_broadcast_buffers", "deepspeed"),
        *("ddp_find_unused_parameters", "gradient_checkpointing_kwargs", "torch_compile_backend", "output_dir"),
        *("torch_compile_mode", "accelerator_config", "hub_strategy", "hub_revision", "lr_scheduler_kwargs"),
    }
)
"""Fields of `TrainingArguments` that have the same name there."""
_BITS_AND_BYTES = ("bnb_4bit_quant_type", "bnb_4bit_use_double_quant", "bnb_4bit_compute_dtype")


def _read_strategy(value: Any) -> Any:
    return "no" if value is False else value


def _read_checkpointing(value: Any) -> Any:
    if str(value).lower() not in ("true", "false"):
        raise NotSayable(f"{value!r} is not offered here; there are true and false")
    return value


class AxolotlAdapter(TableAdapter):
    """axolotl's supervised fine-tuning. Without `adapter` it trains every weight."""

    name = "axolotl"
    title = "axolotl"
    file_name = AXOLOTL_FILE
    rows = (
        *same_names(*(name for name in training_arguments() if name in _SAME)),
        *same_names("trust_remote_code", "lora_alpha", "lora_dropout"),
        Row("base_model", "model.model_name_or_path"),
        Row("tokenizer_config", "model.tokenizer_name_or_path"),
        Row("revision_of_model", "model.revision"),
        Row("sequence_len", "training.max_length"),
        Row("sample_packing", "training.packing"),
        Row("eval_sample_packing", "training.eval_packing"),
        Row("batch_flattening", "training.padding_free", _read_checkpointing),
        Row("group_by_length", "training.train_sampling_strategy", read_sampling, write_sampling),
        Row("train_on_inputs", "training.completion_only_loss", negated, negated),
        Row("val_set_size", "data.validation_fraction", read_split_size),
        Row("shuffle_merged_datasets", "training.shuffle_dataset"),
        Row("dataset_processes", "training.dataset_num_proc"),
        Row("micro_batch_size", "training.per_device_train_batch_size"),
        Row("eval_batch_size", "training.per_device_eval_batch_size"),
        Row("num_epochs", "training.num_train_epochs"),
        Row("optimizer", "training.optim", taken_by("training.optim", "is not an optimizer of transformers")),
        Row(
            "lr_scheduler",
            "training.lr_scheduler_type",
            taken_by("training.lr_scheduler_type", "is not a scheduler of transformers"),
        ),
        Row("warmup_steps", "training.warmup_steps"),
        Row("warmup_ratio", "training.warmup_steps", read_ratio, note="a share of all steps"),
        Row("eval_strategy", "training.eval_strategy", _read_strategy),
        Row("save_strategy", "training.save_strategy", _read_strategy),
        Row("gradient_checkpointing", "training.gradient_checkpointing", _read_checkpointing),
        Row("torch_compile", "training.torch_compile", _read_checkpointing),
        Row("resume_from_checkpoint", "training.resume_from_checkpoint"),
        Row("auto_resume_from_checkpoints", "training.resume_from_checkpoint"),
        Row("lora_r", "peft.r"),
        Row("lora_target_modules", "peft.target_modules"),
        Row("lora_modules_to_save", "peft.modules_to_save"),
        Row("peft_use_dora", "peft.use_dora"),
        Row("peft_use_rslora", "peft.use_rslora"),
        Row("peft_init_lora_weights", "peft.init_lora_weights"),
        Row("special_tokens.pad_token", "training.pad_token"),
        Row("special_tokens.eos_token", "training.eos_token"),
        Row("special_tokens.additional_special_tokens", "model.add_special_tokens"),
        Row("wandb_project", "tracking.wandb_project"),
        Row("wandb_entity", "tracking.wandb_entity"),
        Row("wandb_name", "tracking.run_name"),
        Row("wandb_mode", "tracking.wandb_mode", *one_of({"online": "online", "offline": "offline"})),
        Row("mlflow_tracking_uri", "tracking.mlflow_tracking_uri"),
        Row("mlflow_experiment_name", "tracking.mlflow_experiment"),
        Row("dataset_prepared_path", "data.dataset_prepared_path"),
        Row("early_stopping_patience", "trainer_control.early_stopping_patience"),
        *(Row(f"bnb_config_kwargs.{name}", f"quantization.{name}") for name in _BITS_AND_BYTES),
    )
    not_read: Mapping[str, str] = {
        "bf16": "the recommender chooses by the device, as axolotl does",
        "chat_template": "names a chat template of axolotl; the tokenizer's own is taken here",
        "is_llama_derived_model": "the model's config.json says what it is",
        "lora_model_dir": "adapters start anew here",
        "model_type": "the model's config.json says what it is",
        "pad_to_sequence_len": "batches are padded to their longest row here",
        "plugins": "are Python code of axolotl's",
        "pretraining_dataset": "rows are read whole here, and trained on as they are with data_format=text",
        "strict": "unknown keys are always refused here",
        "tokenizer_type": "the tokenizer's files say what it is",
        "tokens": "special tokens are added with add_special_tokens",
        "wandb_log_model": "models stay in the run folder",
    }
    not_written: Mapping[str, str] = {
        "accelerate": "is for the launcher",
        "compute": "is for the launcher",
        "data.data_formatter_template": "axolotl has types of prompts instead of a Jinja template",
        "data.response_template": "axolotl trains on what its type of prompt calls the answer",
        "model.chat_template_path": "axolotl takes a template as text: chat_template",
        "model.dtype": "axolotl loads weights in the type that bf16 or fp16 say",
        "training.hub_token": SECRET,
        "training.save_model_dir": "axolotl saves the model in output_dir",
    }

    def recognises(self, document: Mapping[str, Any]) -> bool:
        """Tell whether the document names a base_model and one more thing as axolotl does."""
        return "base_model" in document and bool(
            {"micro_batch_size", "sequence_len", "adapter", "datasets", "num_epochs"} & document.keys()
        )

    def read_first(self, reading: Reading) -> None:
        """Read what several keys say together."""
        read_adapter(reading)
        read_precision(reading)
        read_attention(reading)
        read_cadence(reading)
        read_trackers(reading)
        read_fsdp(reading)
        if (template := reading.take("chat_template_jinja")) is not None:
            reading.put("model.chat_template", template, "chat_template_jinja")
        if reading.get("chat_template") in ("tokenizer_default", "jinja"):
            reading.take("chat_template")
        if is_on(reading.get("resize_token_embeddings_to_32x")):
            reading.take("resize_token_embeddings_to_32x")
            reading.put("model.embedding_size_multiple_of", 32, "resize_token_embeddings_to_32x")
        if (hub_id := reading.take("hub_model_id")) is not None:
            reading.put("training.hub_model_id", hub_id, "hub_model_id")
            reading.put("training.push_to_hub", True, "hub_model_id")
        read_rows(reading)

    def write_first(self, writing: Writing) -> None:
        """Write what several fields say together."""
        write_adapter(writing)
        write_precision(writing)
        write_attention(writing)
        write_trackers(writing)
        write_fsdp(writing)
        if (template := writing.take("model.chat_template")) is not None:
            writing.document |= {"chat_template": "jinja", "chat_template_jinja": template}
        if writing.get("model.embedding_size_multiple_of") == 32:
            writing.take("model.embedding_size_multiple_of")
            writing.put("resize_token_embeddings_to_32x", True)
        if writing.get("training.push_to_hub") is True and (hub_id := writing.take("training.hub_model_id")):
            writing.take("training.push_to_hub")
            writing.put("hub_model_id", hub_id)
        if isinstance(resume := writing.get("training.resume_from_checkpoint"), bool):
            writing.take("training.resume_from_checkpoint")
            writing.put("auto_resume_from_checkpoints", resume)
        carry_warmup(writing, "warmup_steps", "warmup_ratio")
        write_rows(writing)

    def launch_command(self, ir: IR) -> list[str]:
        """Start axolotl, over accelerate's launcher where there are several processes."""
        if num_processes(ir) == 1:
            return ["axolotl", "train", AXOLOTL_FILE]
        return [*accelerate_launch(ir), "-m", "axolotl.cli.train", AXOLOTL_FILE]
