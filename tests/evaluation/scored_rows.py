"""Measure made-up rows with the trainer: called by tests, and run by them as a command of one or two processes."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any


def made_up_rows(count: int, length: int = 4) -> list[dict[str, list[int]]]:
    """Make rows of differing lengths whose first tokens have no labels, every third row's excepted."""
    rows = []
    for number in range(count):
        ids = [5 + (7 * number + 3 * index) % 60 for index in range(length + number % 9)]
        prompt = number % 3
        rows.append({"input_ids": ids, "labels": [-100] * prompt + ids[prompt:]})
    return rows


def trainer_of(model: Any, tokenizer_folder: Path, output_dir: Path, rows: Any, **settings: Any) -> Any:
    """Make the trainer for rows that are tokenized already."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl.trainer.sft_config import SFTConfig

    from tuning.evaluation.scored_trainer import ScoredTrainer

    given = {"use_cpu": True, "report_to": "none", "bf16": False, "disable_tqdm": True, **settings}
    return ScoredTrainer(
        model,
        SFTConfig(output_dir=str(output_dir), **given),
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(tokenizer_folder),
    )


def main(model: str, output_dir: str, count: str, length: str, settings: str) -> None:
    """Write the metrics, the number of processes, and the peak memory of this one in KiB."""
    from transformers import AutoModelForCausalLM

    loaded = AutoModelForCausalLM.from_pretrained(model)
    rows = made_up_rows(int(count), int(length))
    trainer = trainer_of(loaded, Path(model), Path(output_dir), rows, **json.loads(settings))
    metrics = trainer.evaluate()
    if trainer.is_world_process_zero():
        metrics["num_processes"] = trainer.args.world_size
        metrics["peak_kib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        (Path(output_dir) / "metrics.json").write_text(json.dumps(metrics))


if __name__ == "__main__":
    main(*sys.argv[1:])
