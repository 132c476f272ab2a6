"""Compare the logits of an export with those of the model in torch, and say whether they are close enough."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from tuning.errors import UserError
from tuning.export.exporter import Bound
from tuning.export.prompts import NUM_NEW_TOKENS, Prompts, padded

if TYPE_CHECKING:
    from torch import Tensor

    from tuning.export.exporter import Logits

_TIE = 1e-5
"""Logits that are nearer to each other are equally likely: rounding decides between them."""


@dataclass(frozen=True)
class Answers:
    """What the model in torch says to one batch: the prompts with its greedy continuation, and the logits of that."""

    ids: Tensor
    mask: Tensor
    is_answer: Tensor
    """(batch, length) bool: positions whose next token the model chose itself."""
    logits: Tensor
    """(positions that are no padding, vocabulary) float32."""


@dataclass(frozen=True)
class Comparison:
    """How far an export is from the model in torch on the prompts."""

    max_difference: float
    """Largest absolute difference of two logits."""
    deviation: float
    """Standard deviation of the model's logits over the vocabulary, to judge the difference by."""
    largest_logit: float
    top_1: float
    """Share of positions whose most likely token is the same."""
    same_greedy_text: bool
    num_prompts: int
    num_positions: int
    prompts: str
    """Where the prompts come from."""

    def to_dict(self) -> dict[str, Any]:
        """Lay it out for export.json."""
        return asdict(self)

    def allowed(self, bound: Bound) -> float:
        """Return the largest difference that is within the bound."""
        scale = self.largest_logit if bound.greedy else self.deviation
        return max(bound.max_difference, bound.relative * scale)

    def failures(self, bound: Bound) -> list[str]:
        """Name what is out of bounds, with the numbers."""
        found = []
        if not self.max_difference <= self.allowed(bound):  # a NaN is within no bound
            found.append(f"logits differ by up to {self.max_difference:.3g}, and {self.allowed(bound):.3g} is allowed")
        if self.top_1 < bound.top_1:
            told = f"the most likely token is the same at {self.top_1:.1%} of {self.num_positions} positions"
            found.append(f"{told}, and {bound.top_1:.0%} are asked for")
        if bound.greedy and not self.same_greedy_text:
            found.append("the greedy text is another one")
        return found


def answers_of(model: Any, prompts: Prompts) -> list[Answers]:
    """Let the model in torch go on from the prompts, always with its most likely token, and keep its logits."""
    import torch

    batches = prompts.batches()
    rows = [row for batch in batches for row in batch]
    continued, logits = _continued(model, rows)
    found, first = [], 0
    for batch in batches:
        part = slice(first, first + len(batch))
        ids, mask = padded([[*prompt, *answer] for prompt, answer in zip(batch, continued[part], strict=True)])
        found.append(Answers(ids, mask, _answer_positions(ids, batch), torch.cat(logits[part])))
        first += len(batch)
    return found


def _answer_positions(ids: Tensor, batch: Sequence[list[int]]) -> Tensor:
    import torch

    positions, lengths = torch.arange(ids.shape[1]), torch.tensor([len(prompt) for prompt in batch])[:, None]
    return (positions >= lengths - 1) & (positions < lengths - 1 + NUM_NEW_TOKENS)


def _continued(model: Any, rows: Sequence[list[int]]) -> tuple[list[list[int]], list[Tensor]]:
    """Generate with the most likely token each time, whatever the model's own generation configuration says.

    Returns the new tokens of each row but for the last one, which the model is never given, and the logits of each
    position of prompt and new tokens. The logits are those that were generated with: each pass through a large model
    takes seconds.
    """
    import torch

    from tuning.export.float32 import computing_in_float32

    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    seen: list[Tensor] = []
    with torch.no_grad(), computing_in_float32(model), _seeing_logits(model, seen) as options:
        made = model.generate(input_ids=ids, attention_mask=mask, **options)[:, longest:]
    logits = torch.cat(seen, 1)
    return made[:, :-1].tolist(), [one[longest - len(row) :] for one, row in zip(logits, rows, strict=True)]


@contextmanager
def _seeing_logits(model: Any, seen: list[Tensor]) -> Iterator[dict[str, Any]]:
    """Note the logits of each pass, of the prompts' positions, too; yields what the model has to be asked for that."""
    from transformers import GenerationConfig

    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    hook = base.register_forward_hook(lambda *passed: seen.append(passed[-1].logits.float()))
    own = model.generation_config, base.generation_config  # PEFT gives the base what the adapted model has
    model.generation_config = GenerationConfig(max_new_tokens=NUM_NEW_TOKENS, do_sample=False, pad_token_id=0)
    try:
        yield {"logits_to_keep": 0} if "logits_to_keep" in inspect.signature(base.forward).parameters else {}
    finally:
        model.generation_config, base.generation_config = own
        hook.remove()


def compare(logits_of: Logits, answers: Sequence[Answers], prompts: Prompts) -> Comparison:
    """Compare an export with the model's answers.

    Where the export finds each token of the greedy continuation most likely, given those before it, its own greedy text
    is the same.

    Raises:
        UserError: the export's logits have another shape.
    """
    import torch

    differences, largest, deviations, same, is_answer = [], [], [], [], []
    for one in answers:
        found = logits_of(one.ids, one.mask)
        if found.shape != (*one.ids.shape, one.logits.shape[-1]):
            raise UserError(f"logits of shape {tuple(found.shape)}, and the model has {one.logits.shape[-1]} tokens")
        found = found[one.mask.bool()].to(torch.float32)
        differences.append((found - one.logits).abs().max())
        largest.append(one.logits.abs().max())
        deviations.append(one.logits.std(-1).mean())
        chosen = one.logits.gather(-1, found.argmax(-1)[:, None])[:, 0]
        same.append(chosen >= one.logits.amax(-1) - _TIE)
        is_answer.append(one.is_answer[one.mask.bool()])
    same_top, answered = torch.cat(same), torch.cat(is_answer)
    return Comparison(
        max_difference=float(torch.stack(differences).max()),
        deviation=float(torch.stack(deviations).mean()),
        largest_logit=float(torch.stack(largest).max()),
        top_1=float(same_top.float().mean()),
        same_greedy_text=bool(same_top[answered].all()),
        num_prompts=len(prompts.ids),
        num_positions=len(same_top),
        prompts=prompts.origin,
    )
