"""TRL's trainer, with an evaluation that counts every token once, whatever the batches and the processes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers.trainer_utils import EvalLoopOutput
from trl.trainer.sft_trainer import SFTTrainer

from tuning.evaluation.token_metrics import TokenMetrics

_TOKENS_AT_ONCE = 1024
"""Tokens whose scores over the vocabulary are held at once."""


class ScoredTrainer(SFTTrainer):
    """Measures loss, token accuracy and F1 over tokens; transformers' own `eval_loss` is a mean of batches' means."""

    def __init__(self, *args: Any, wants_f1: bool = True, **kwargs: Any) -> None:
        """Make TRL's trainer; `wants_f1` counts F1 over token ids, too."""
        super().__init__(*args, **kwargs)
        self.wants_f1 = wants_f1
        self.scores: TokenMetrics | None = None  # sums of the evaluation that runs now

    def evaluation_loop(self, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any) -> EvalLoopOutput:
        """Run transformers' loop, and replace its metrics by those over tokens."""
        self.scores = TokenMetrics(self._vocab_size() if self.wants_f1 else None)
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        scores, self.scores = self.scores.compute(), None
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in scores.items()}
        return output._replace(metrics={**(output.metrics or {}), **metrics})

    def prediction_step(
        self, model: Any, inputs: Any, prediction_loss_only: bool, ignore_keys: list[str] | None = None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Score one batch and add it up; nothing of it is kept."""
        if self.scores is None:
            return super().prediction_step(model, inputs, prediction_loss_only, ignore_keys)
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager(), _last_hidden_states(self.model) as hidden_states:
            outputs = model(**inputs, use_cache=False, fused_lm_head=True)
            predictions = most_likely(hidden_states[-1][:, :-1], outputs.label_mask, self._head())
        losses, labels = -outputs.log_probs, inputs["labels"][:, -outputs.label_mask.shape[1] :]
        rows = [_padded(tensor, self.accelerator) for tensor in (losses, labels, predictions, outputs.label_mask)]
        losses, labels, predictions, mask = self.accelerator.gather_for_metrics(rows)
        self.scores.add(losses[mask], labels[mask], predictions[mask])
        return outputs.log_probs.new_zeros(()), None, None

    def _head(self) -> Any:
        return self.accelerator.unwrap_model(self.model).get_output_embeddings()

    def _vocab_size(self) -> int:
        return int(self._head().weight.shape[0])


def most_likely(hidden_states: Tensor, mask: Tensor, head: Any) -> Tensor:
    """Return the most likely next token where the mask is set, and 0 elsewhere; shape of the mask, int64.

    What models do to their logits after the head (scaling, soft capping) keeps their order, so the head alone is asked.
    """
    wanted = hidden_states[mask]
    found = [head(part).argmax(dim=-1) for part in wanted.split(_TOKENS_AT_ONCE)] if len(wanted) else []
    ids = torch.zeros(mask.shape, dtype=torch.int64, device=mask.device)
    return ids.masked_scatter(mask, torch.cat(found)) if found else ids


@contextmanager
def _last_hidden_states(model: Any) -> Iterator[list[Tensor]]:
    """Collect what the layers below the head return, for as long as the context is open."""
    kept: list[Tensor] = []
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    hook = base.base_model.register_forward_hook(lambda *call: kept.append(call[-1].last_hidden_state))
    try:
        yield kept
    finally:
        hook.remove()


def _padded(tensor: Tensor, accelerator: Any) -> Tensor:
    return accelerator.pad_across_processes(tensor, dim=1, pad_index=0)
