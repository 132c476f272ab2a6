"""Train a tiny model with and without balanced batches, and write what each rank saw; started by accelerate."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl.trainer.sft_config import SFTConfig

from tuning.acceleration.multipack import PATH, MultipackPlugin
from tuning.evaluation.scored_trainer import ScoredTrainer


def made_rows(count: int = 50) -> Dataset:
    """Make rows of very different lengths; the first token is the number of the row."""
    drawn = random.Random(0)
    ids = [[5 + number, *drawn.choices(range(5, 200), k=int(drawn.lognormvariate(2.5, 1)))] for number in range(count)]
    return Dataset.from_dict({"input_ids": ids, "labels": ids})


def trained(model: str, folder: Path, stanza: dict[str, Any] | None, resume: bool = False, **chosen: Any) -> Any:
    """Train two epochs; returns the losses, and of each batch of this rank its rows and its tokens."""
    args = SFTConfig(
        output_dir=str(folder), num_train_epochs=2, per_device_train_batch_size=4, gradient_accumulation_steps=2,
        learning_rate=0.01, logging_steps=1, save_strategy="no", report_to="none", use_cpu=True, bf16=False,
        gradient_checkpointing=False, padding_free=True, max_length=None, disable_tqdm=True, max_grad_norm=0,
        remove_unused_columns=False, dataset_kwargs={"skip_prepare_dataset": True},
    )  # fmt: skip
    for name, value in chosen.items():
        setattr(args, name, value)
    plugin = MultipackPlugin({PATH: stanza or {}})
    base: Any = AutoModelForCausalLM.from_pretrained(model, dtype="float32")
    plugin.augmentation(base, args)
    tokenizer = AutoTokenizer.from_pretrained(model)
    trainer = ScoredTrainer(base, args, train_dataset=made_rows(), processing_class=tokenizer)
    if stanza is not None:
        plugin.get_callbacks_and_ready_for_train(base, trainer.accelerator)
    batches: list[tuple[list[int], int]] = []
    collate: Any = trainer.data_collator

    def noted(rows: list[dict[str, Any]]) -> Any:
        batches.append(([row["input_ids"][0] - 5 for row in rows], sum(len(row["input_ids"]) for row in rows)))
        return collate(rows)

    trainer.data_collator = noted
    trainer.train(resume_from_checkpoint=resume)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return {"losses": losses, "batches": batches, "rank": args.process_index}


if __name__ == "__main__":
    model_folder, out = sys.argv[1], Path(sys.argv[2])
    stanzas = {"without": None, "step": {}, "budget": {"balance": "budget"}}
    found = {name: trained(model_folder, out, stanza) for name, stanza in stanzas.items()}
    rank = found["step"]["rank"]
    (out / f"rank{rank}.json").write_text(json.dumps(found))
