"""TRL's trainer, with an evaluation that counts every token once, whatever the batches and the processes."""

from __future__ import annotations

import logging
import math
from typing import Any

import torch
from torch import Tensor
from transformers.trainer_utils import EvalLoopOutput

from tuning.causal_lm import IGNORED_LABEL
from tuning.evaluation.token_metrics import TokenMetrics
from tuning.evaluation.token_scores import TokenScorer
from tuning.sharding.trainer import ShardedTrainer

logger = logging.getLogger(__name__)


class ScoredTrainer(ShardedTrainer):
    """Measures loss, token accuracy and F1 over tokens; transformers' own `eval_loss` is a mean of batches' means.

    The loss is the mean over all tokens of the negative log likelihood in nats, whatever `loss_type`,
    `label_smoothing_factor` and auxiliary losses do to what is trained: that alone makes a perplexity.
    """

    def __init__(self, *args: Any, wants_f1: bool = True, **kwargs: Any) -> None:
        """Make TRL's trainer; `wants_f1` counts F1 over token ids, too."""
        super().__init__(*args, **kwargs)
        self.wants_f1 = wants_f1
        self.scorer: TokenScorer | None = None  # of the evaluation that runs now, as the sums are
        self.scores: TokenMetrics | None = None
        self.measured: tuple[int, dict[str, float]] | None = None
        """Step of the newest evaluation that this process ran, and what it found."""

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Fill the last batches of all processes with rows without labels: accelerate would repeat the first rows."""
        dataset: Any = self.eval_dataset if eval_dataset is None else eval_dataset
        if isinstance(dataset, str) and isinstance(self.eval_dataset, dict):
            dataset = self.eval_dataset[dataset]
        if self.args.world_size > 1 and hasattr(dataset, "__len__") and hasattr(dataset, "features"):
            dataset = filled_up(dataset, self.args.world_size * self.args.per_device_eval_batch_size)
        return super().get_eval_dataloader(dataset)

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> EvalLoopOutput:
        """Run transformers' loop, and replace its metrics by those over tokens."""
        self.scorer = None
        self.scores = TokenMetrics(self._vocab_size() if self.wants_f1 else None)
        try:
            output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
            sums = self.scores.summed(self._add_up)
        finally:
            self.scorer = self.scores = None
        scores = sums.compute()
        if math.isnan(sums.loss) and self.is_world_process_zero():
            logger.warning("evaluation: the loss is not a number: the model has diverged")
        scores["mean_token_accuracy"] = scores["token_accuracy"]  # TRL's name, by which a best model may be chosen
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in scores.items()}
        metrics = {**(output.metrics or {}), **metrics}
        self.measured = self.state.global_step, metrics
        return output._replace(metrics=metrics)

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Score one batch and add it up; nothing of it is kept."""
        if self.scores is None:
            return super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        self.scorer = self.scorer or TokenScorer(model, self.accelerator.unwrap_model(self.model))
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            self.scores.add(*self.scorer.score(inputs))
        return None, None, None

    def _add_up(self, tensor: Tensor) -> Tensor:
        if self.args.world_size == 1:
            return tensor
        sums: Any = self.accelerator.reduce(tensor.to(self.accelerator.device), reduction="sum")
        return sums

    def _vocab_size(self) -> int:
        model = self.accelerator.unwrap_model(self.model)
        return int(model.config.get_text_config().vocab_size)


def filled_up(dataset: Any, multiple: int) -> Any:
    """Add rows without labels until the number of rows is a multiple."""
    from datasets import Dataset, concatenate_datasets

    missing = -len(dataset) % multiple
    if not missing:
        return dataset
    row = dataset[0]
    blank = {**row, "labels": [IGNORED_LABEL] * len(row["labels"])}
    return concatenate_datasets([dataset, Dataset.from_list([blank] * missing, features=dataset.features)])
