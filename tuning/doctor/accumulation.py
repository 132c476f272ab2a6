"""Whether gradient accumulation learns what one big batch does."""

from __future__ import annotations

import contextlib
import tempfile
from typing import TYPE_CHECKING, Any

from tuning.doctor.finding import Finding
from tuning.doctor.subject import Examples, Subject

if TYPE_CHECKING:
    from torch import Tensor

MOST_ACCUMULATED = 1e-3
"""Largest difference, of the largest step of a weight.

Source: own runs of eight architectures: at most 2.2e-5; a loss that is averaged over passes, not tokens: above 5e-2.
"""
_LOSS_FIELDS = ("loss_type", "label_smoothing_factor", "router_aux_loss_coef")
_ONE_STEP: dict[str, Any] = {
    "max_steps": 1,
    "optim": "sgd",
    "learning_rate": 1.0,
    "lr_scheduler_type": "constant",
    "max_grad_norm": 0.0,
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "logging_strategy": "no",
    "dataset_kwargs": {"skip_prepare_dataset": True},
}
"""One step whose length is the gradient, so that what differs is what was differentiated."""


def accumulation_finding(subject: Subject, trainer_class: Any = None) -> Finding:
    """Train one step on four rows at once, and one on the same rows one by one; `trainer_class` None: the run's own."""
    examples = subject.examples()
    start = _weights(subject.tiny_model())
    at_once = trained(subject, examples, len(examples), trainer_class)
    one_by_one = trained(subject, examples, 1, trainer_class)
    off = float((at_once - one_by_one).abs().max() / (at_once - start).abs().max().clamp_min(1e-12))
    told = f"{len(examples)} rows at once and one by one differ by {off:.1e} of the largest step"
    if off <= MOST_ACCUMULATED:
        return Finding("accumulation", "ok", told, difference=off)
    hint = "gradient_accumulation_steps changes what is learned here; leave it at 1, and report it."
    return Finding("accumulation", "fault", told, hint, off)


def trained(subject: Subject, examples: Examples, rows: int, trainer_class: Any = None) -> Tensor:
    """Train one step of plain gradient descent, `rows` rows a pass; return all weights."""
    from datasets import Dataset
    from trl.trainer.sft_config import SFTConfig

    from tuning.evaluation.scored_trainer import ScoredTrainer

    settings: dict[str, Any] = {name: dict(subject.config.training).get(name) for name in _LOSS_FIELDS}
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(None):
        args = SFTConfig(
            output_dir=folder,
            per_device_train_batch_size=rows,
            gradient_accumulation_steps=len(examples) // rows,
            **{name: value for name, value in settings.items() if value is not None},
            **_ONE_STEP,
        )
        trainer = (trainer_class or ScoredTrainer)(
            subject.tiny_model(),
            args,
            train_dataset=Dataset.from_list(list(examples)),
            processing_class=subject.tokenizer,
        )
        trainer.train()
    return _weights(trainer.model)


def _weights(model: Any) -> Tensor:
    import torch

    return torch.cat([parameter.detach().flatten().clone() for parameter in model.parameters()])
