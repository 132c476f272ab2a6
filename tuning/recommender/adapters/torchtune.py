"""torchtune's recipe configurations: nested, with a `_component_` for each part that is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuning.config.ir import IR
from tuning.recommender.adapters.adapter import Exported, Unmapped
from tuning.recommender.adapters.launch import num_machines, num_processes
from tuning.recommender.adapters.mapping import NotSayable, Reading, Row, Writing, one_of
from tuning.recommender.adapters.table_adapter import TableAdapter
from tuning.recommender.adapters.torchtune_components import (
    read_checkpointer,
    read_dtype,
    read_model,
    read_optimizer,
    read_steps,
    resolved,
    write_dtype,
    write_model,
    write_optimizer,
    write_steps,
)
from tuning.recommender.adapters.torchtune_loggers import read_logger, write_logger
from tuning.recommender.adapters.torchtune_rows import read_rows, write_rows

TORCHTUNE_FILE = "torchtune.yaml"
_SCHEDULES = {
    "torchtune.training.lr_schedulers.get_cosine_schedule_with_warmup": "cosine",
    "torchtune.modules.get_cosine_schedule_with_warmup": "cosine",
    "transformers.get_linear_schedule_with_warmup": "linear",
}


def _whole(value: Any) -> int:
    if value != int(value) or value < 1:
        raise NotSayable("torchtune takes a whole number there")
    return int(value)


_READ_SCHEDULE, _WRITE_SCHEDULE = one_of({name.lower(): word for name, word in _SCHEDULES.items()})
_READ_DEVICE, _WRITE_DEVICE = one_of({"cuda": False, "cpu": True})
_READ_SHUFFLE, _WRITE_SHUFFLE = one_of({True: "random", False: "sequential"})


class TorchtuneAdapter(TableAdapter):
    """torchtune's recipes for full fine-tuning, LoRA and QLoRA; the builder of the model says which."""

    name = "torchtune"
    title = "torchtune"
    file_name = TORCHTUNE_FILE
    rows = (
        Row("checkpointer.checkpoint_dir", "model.model_name_or_path"),
        Row("output_dir", "training.output_dir"),
        Row("checkpointer.output_dir", "training.save_model_dir", note="where it differs from output_dir"),
        Row("tokenizer.max_seq_len", "training.max_length"),
        Row("batch_size", "training.per_device_train_batch_size"),
        Row("batch_size_val", "training.per_device_eval_batch_size"),
        Row("gradient_accumulation_steps", "training.gradient_accumulation_steps"),
        Row("epochs", "training.num_train_epochs", write=_whole),
        Row("clip_grad_norm", "training.max_grad_norm"),
        Row("compile", "training.torch_compile"),
        Row("seed", "training.seed"),
        Row("shuffle", "training.train_sampling_strategy", _READ_SHUFFLE, _WRITE_SHUFFLE),
        Row("device", "training.use_cpu", _READ_DEVICE, _WRITE_DEVICE),
        Row("enable_activation_checkpointing", "training.gradient_checkpointing"),
        Row("enable_activation_offloading", "training.activation_offloading"),
        Row("resume_from_checkpoint", "training.resume_from_checkpoint"),
        Row("log_every_n_steps", "training.logging_steps", write=_whole),
        Row("optimizer.lr", "training.learning_rate"),
        Row("optimizer.weight_decay", "training.weight_decay"),
        Row("optimizer.eps", "training.adam_epsilon"),
        Row("lr_scheduler._component_", "training.lr_scheduler_type", _READ_SCHEDULE, _WRITE_SCHEDULE),
        Row("lr_scheduler.num_warmup_steps", "training.warmup_steps", write=lambda value: value and _whole(value)),
        Row("model.lora_rank", "peft.r"),
        Row("model.lora_alpha", "peft.lora_alpha"),
        Row("model.lora_dropout", "peft.lora_dropout"),
        Row("model.use_dora", "peft.use_dora"),
    )
    not_read: Mapping[str, str] = {
        "checkpointer": "the model's folder says what is in it",
        "log_level": "is set by the variable LOG_LEVEL here",
        "log_peak_memory_stats": "memory is always tracked",
        "loss": "the loss of causal language models is the only one here",
        "metric_logger": "trackers are chosen in the tracking section",
        "optimizer_in_bwd": "the optimizer steps after the backward pass here",
        "profiler": "there is no profiler here",
        "save_adapter_weights_only": "adapters are saved alone here",
        "tokenizer": "the model's folder holds the tokenizer",
    }
    not_written: Mapping[str, str] = {
        "accelerate": "torchtune starts its processes with torchrun, and shards by itself",
        "compute": "is for the launcher",
        "model.dtype": "torchtune computes in bf16 or fp32, the type of its weights",
        "model.tokenizer_name_or_path": "torchtune takes a tokenizer's file: tokenizer.path",
        "quantization": "torchtune's QLoRA is 4 bits, nf4, with its own choice of the rest",
        "training.bf16": "torchtune computes in the type of its weights, without mixed precision",
        "training.fp16": "torchtune computes in the type of its weights, without mixed precision",
        "training.max_steps": "torchtune counts steps by epoch: max_steps_per_epoch",
    }

    def recognises(self, document: Mapping[str, Any]) -> bool:
        """Tell whether parts of the document are built by components."""
        parts = (document.get(key) for key in ("model", "tokenizer", "checkpointer", "optimizer"))
        return any(isinstance(part, Mapping) and "_component_" in part for part in parts)

    def read_first(self, reading: Reading) -> None:
        """Read what components say, after references such as ${output_dir} are replaced."""
        reading.left = resolved(reading.left, reading.left)
        read_model(reading)
        read_checkpointer(reading)
        read_optimizer(reading)
        read_dtype(reading)
        read_steps(reading)
        read_logger(reading)
        read_rows(reading)

    def write_first(self, writing: Writing) -> None:
        """Write the components, and what hangs on them."""
        write_model(writing)
        write_optimizer(writing)
        write_dtype(writing)
        write_steps(writing)
        write_logger(writing)
        write_rows(writing)
        checkpointer = {"_component_": "torchtune.training.FullModelHFCheckpointer"}
        if writing.get("training.save_model_dir") is None and writing.get("training.output_dir") is not None:
            checkpointer["output_dir"] = "${output_dir}"
        writing.put("checkpointer", checkpointer)

    def write(self, ir: IR, recommendations: Any = ()) -> Exported:
        """Write the recipe's file, and say what only someone who knows the architecture can fill in."""
        made = super().write(ir, recommendations)
        name = ir.get("model.model_name_or_path")
        why = "torchtune needs the builders of this model and its tokenizer, and checkpoint_files: see its recipes"
        gap = () if name is None else (Unmapped("model._component_", name, why),)
        return Exported(made.files, made.launch_command, (*made.unmapped, *gap))

    def launch_command(self, ir: IR) -> list[str]:
        """Start the recipe with torchtune's own `tune`."""
        quantized = ir.get("quantization.load_in_4bit") is True
        is_lora = ir.get("peft.peft_method") == "lora" or quantized
        recipe, processes = "lora_finetune" if is_lora else "full_finetune", num_processes(ir)
        if processes == 1:
            return ["tune", "run", f"{recipe}_single_device", "--config", TORCHTUNE_FILE]
        nodes = ["--nnodes", str(num_machines(ir)), "--nproc_per_node", str(processes // num_machines(ir))]
        return ["tune", "run", *nodes, f"{recipe}_distributed", "--config", TORCHTUNE_FILE]
