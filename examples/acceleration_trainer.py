"""Acceleration plugins with a plain transformers.Trainer: `acceleration_trainer.py MODEL PLUGINS.yaml ROWS.jsonl`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from transformers import AutoTokenizer, DataCollatorForLanguageModeling, Trainer, TrainingArguments

from tuning import AccelerationFramework


def main(model_name: str, plugins: str, rows: str) -> None:
    """Train on the texts of a JSON Lines file, and print the plugins that acted and the loss."""
    framework = AccelerationFramework(plugins)
    tokenizer = AutoTokenizer.from_pretrained(model_name)
    args = TrainingArguments(output_dir="out", max_steps=4, use_cpu=True, report_to="none", save_strategy="no")

    model = framework.model_loader(model_name)  # by a plugin, where one loads models
    model, _ = framework.augmentation(model, args, modifiable_args=(None,))

    texts = [json.loads(line)["text"] for line in Path(rows).read_text(encoding="utf-8").splitlines()]
    collator = DataCollatorForLanguageModeling(tokenizer, mlm=False)
    trainer = Trainer(model, args, collator, [{"input_ids": tokenizer(text)["input_ids"]} for text in texts])
    for callback in framework.get_callbacks_and_ready_for_train(trainer.model, trainer.accelerator):
        trainer.add_callback(callback)

    result = trainer.train()
    print(json.dumps({"plugins": dict(framework.active_plugins), "loss": result.training_loss}))


if __name__ == "__main__":
    main(*sys.argv[1:])
