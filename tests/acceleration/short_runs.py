"""Short runs of both trainers on rows of mixed lengths, with and without plugins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kernel_families import labelled, rows, tiny

from tuning.acceleration.fused_ops import FusedOpsPlugin
from tuning.acceleration.padding_free import PaddingFreePlugin

KINDS = {"training.attention.padding_free": PaddingFreePlugin, "training.fused_ops_and_kernels": FusedOpsPlugin}
LENGTHS = (17, 5, 11, 8, 23, 4, 9, 14)


def dataset(copies: int = 5) -> Any:
    """Make rows of tokens, the first third of each without labels."""
    from datasets import Dataset

    parts = rows(LENGTHS * copies)
    return Dataset.from_list([{"input_ids": part.tolist(), "labels": labelled([part])[0].tolist()} for part in parts])


def losses_of_a_run(
    folder: Path, stanzas: Mapping[str, Mapping[str, Any]], is_lora: bool = False, **settings: Any
) -> list[float]:
    """Train ten steps with TRL's trainer, as our own does; returns the loss of each step."""
    from peft import LoraConfig
    from trl.trainer.sft_config import SFTConfig

    from tuning.evaluation.scored_trainer import ScoredTrainer

    model, plugins = tiny("llama"), [KINDS[path]({path: stanza}) for path, stanza in stanzas.items()]
    args = SFTConfig(**arguments(folder), dataset_kwargs={"skip_prepare_dataset": True}, **settings)
    for plugin in plugins:
        plugin.augmentation(model, args)
    lora = LoraConfig(r=4, target_modules="all-linear", init_lora_weights="orthogonal") if is_lora else None
    trainer = ScoredTrainer(model, args, train_dataset=dataset(), processing_class=tokenizer(), peft_config=lora)
    return trained(trainer, model=trainer.model, plugins=plugins)


def arguments(folder: Path) -> dict[str, Any]:
    """Return what both trainers are told: single precision, one loss a step."""
    return {
        "output_dir": str(folder),
        "max_steps": 10,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "report_to": "none",
        "save_strategy": "no",
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "disable_tqdm": True,
        "remove_unused_columns": False,
    }


def trained(trainer: Any, model: Any, plugins: list[Any]) -> list[float]:
    """Get the plugins ready, and train; returns the loss of each step."""
    for plugin in plugins:
        for callback in plugin.get_callbacks_and_ready_for_train(model, trainer.accelerator):
            trainer.add_callback(callback)
    trainer.train()
    return [float(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry]


def tokenizer() -> Any:
    """Make a tokenizer of single letters; the trainers ask it for the padding token alone."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    vocab = {"<pad>": 0, "<s>": 1, "</s>": 2}
    tokens = Tokenizer(models.WordLevel(vocab, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=tokens, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
