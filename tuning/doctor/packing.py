"""Whether packed rows give what padded rows do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuning.config.decided import training_value
from tuning.doctor.finding import Finding
from tuning.doctor.subject import Examples, Subject
from tuning.errors import first_line

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MOST_PACKED = 1e-4
"""Largest difference, of the largest logit.

Source: own runs of eight architectures: at most 5e-7; a row that sees another: above 1e-2.
"""


def packing_finding(subject: Subject, model: PreTrainedModel | None = None) -> Finding:
    """Compare the logits of padded rows with those of the same rows in one sequence; `model` None: the tiny copy."""
    packs = bool(training_value(subject.config, "packing") or training_value(subject.config, "padding_free"))
    model, examples = model or subject.tiny_model(), subject.examples()
    pad_token_id: Any = subject.tokenizer.pad_token_id
    try:
        off = packed_difference(model, examples, pad_token_id)
    except (ValueError, TypeError) as error:  # a model that knows nothing of packed rows, or says so
        told = f"this architecture does not take packed rows: {first_line(error)}"
        return _apart(told, packs)
    told = f"logits of padded and packed rows differ by {off:.1e} of the largest"
    return Finding("packing", "ok", told, difference=off) if off <= MOST_PACKED else _apart(told, packs, off)


def packed_difference(model: Any, examples: Examples, pad_token_id: int) -> float:
    """Return the largest difference of a logit, relative to the largest logit, over all real tokens."""
    import torch
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    model.eval()
    padded, packed = (
        DataCollatorForLanguageModeling(pad_token_id=pad_token_id, padding_free=free)([dict(each) for each in examples])
        for free in (False, True)
    )
    with torch.no_grad():
        apart, together = (model(**_without_labels(batch), use_cache=False).logits for batch in (padded, packed))
    wanted = torch.cat([row[: len(each["input_ids"])] for row, each in zip(apart, examples, strict=True)])
    return float((wanted - together[0]).abs().max() / wanted.abs().max().clamp_min(1e-12))


def _apart(told: str, packs: bool, off: float | None = None) -> Finding:
    if packs:
        return Finding("packing", "fault", told, "Set packing=false and padding_free=false.", off)
    return Finding("packing", "warning", told, "This run does not pack; leave it so.", off)


def _without_labels(batch: Any) -> dict[str, Any]:
    return {name: value for name, value in batch.items() if name != "labels"}
