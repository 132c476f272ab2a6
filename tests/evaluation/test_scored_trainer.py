from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROWS = [
    {"input_ids": [5 + (7 * row + 3 * index) % 60 for index in range(4 + row % 9)], "labels": []} for row in range(32)
]
for number, row in enumerate(ROWS):
    prompt = number % 3
    row["labels"] = [-100] * prompt + row["input_ids"][prompt:]


def metrics_of(model: Path, folder: Path, **settings: Any) -> tuple[dict[str, float], Any]:
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl.trainer.sft_config import SFTConfig

    from tuning.evaluation.scored_trainer import ScoredTrainer

    args = SFTConfig(
        output_dir=str(folder), use_cpu=True, report_to="none", bf16=False, shuffle_dataset=False, **settings
    )
    loaded = AutoModelForCausalLM.from_pretrained(model)
    trainer = ScoredTrainer(
        loaded,
        args,
        train_dataset=Dataset.from_list(ROWS),
        eval_dataset=Dataset.from_list(ROWS),
        processing_class=AutoTokenizer.from_pretrained(model),
    )
    return trainer.evaluate(), loaded


def computed_from_all_logits(model: Any) -> dict[str, float]:
    """Score each row by itself with the whole logits, and F1 by scikit-learn."""
    import torch
    from sklearn.metrics import f1_score

    losses, labels, predictions = [], [], []
    model = model.eval()
    for row in ROWS:
        with torch.no_grad():
            logits = model(torch.tensor([row["input_ids"]])).logits[0, :-1].double()
        wanted = torch.tensor(row["labels"][1:])
        mask = wanted != -100
        losses += torch.nn.functional.cross_entropy(logits[mask], wanted[mask], reduction="none").tolist()
        labels += wanted[mask].tolist()
        predictions += logits[mask].argmax(-1).tolist()
    hits = [label == prediction for label, prediction in zip(labels, predictions, strict=True)]
    return {
        "eval_loss": sum(losses) / len(losses),
        "eval_token_accuracy": sum(hits) / len(hits),
        "eval_token_f1_micro": f1_score(labels, predictions, average="micro"),
        "eval_token_f1_macro": f1_score(labels, predictions, average="macro"),
    }


@pytest.mark.parametrize("batch", [1, 7])
def test_scores_equal_those_of_all_logits_for_every_batch_size(tiny_model: Path, tmp_path: Path, batch: int) -> None:
    found, model = metrics_of(tiny_model, tmp_path, per_device_eval_batch_size=batch)
    wanted = computed_from_all_logits(model)
    assert {name: found[name] for name in wanted} == pytest.approx(wanted, abs=1e-6)
