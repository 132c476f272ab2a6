"""Whether what is loaded is what was saved: the model or the run's adapter, and the tokenizer."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.arguments import peft_config_of
from tuning.doctor.finding import Finding
from tuning.doctor.subject import Examples, Subject
from tuning.weight_files import ADAPTER_CONFIG

if TYPE_CHECKING:
    from torch import Tensor

MOST_SAVED = 1e-6
"""Largest difference, of the largest logit. Source: the weights and operations are equal; own runs measured 0."""
_SPREAD = 0.05
"""Standard deviation of what is added to an adapter, whose product would be zero otherwise."""


def saving_finding(subject: Subject, model: Any = None) -> Finding:
    """Save the model, or its adapter, and the tokenizer; load them and compare; `model` None: the tiny copy."""
    examples = subject.examples()
    model = _with_adapter(subject, model or subject.tiny_model())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subject.tokenizer.save_pretrained(folder)
        off = _saved_difference(subject, model, examples, folder / "model")
        changed = _changed_ids(subject, folder)
    told = f"logits before and after differ by {off:.1e} of the largest; {changed} texts have other tokens"
    if off <= MOST_SAVED and not changed:
        return Finding("save and load", "ok", told, difference=off)
    hint = "What is saved is not what was trained; keep checkpoints, and look at the model's and tokenizer's classes."
    return Finding("save and load", "fault", told, hint, max(off, float(changed)))


def _with_adapter(subject: Subject, model: Any) -> Any:
    """Put the run's adapter on a model, with weights that are no longer zero."""
    config = peft_config_of(subject.config, model, subject.additions.new_token_ids, subject.tokenizer)
    if config is None:
        return model
    import torch
    from peft import get_peft_model

    adapted = get_peft_model(model, config)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=_SPREAD)
    return adapted


def _saved_difference(subject: Subject, model: Any, examples: Examples, folder: Path) -> float:
    before = _logits(model, examples)
    model.save_pretrained(folder)
    after = _logits(_loaded(subject, folder), examples)
    return max(
        float((one - other).abs().max() / one.abs().max().clamp_min(1e-12))
        for one, other in zip(before, after, strict=True)
    )


def _loaded(subject: Subject, folder: Path) -> Any:
    if (folder / ADAPTER_CONFIG).is_file():
        from peft import PeftModel

        return PeftModel.from_pretrained(subject.tiny_model(), str(folder))
    from transformers import AutoModelForCausalLM

    trusted = subject.config.model.trust_remote_code
    return AutoModelForCausalLM.from_pretrained(folder, use_safetensors=True, trust_remote_code=trusted)


def _changed_ids(subject: Subject, folder: Path) -> int:
    """Count the texts of rows that a saved and loaded tokenizer encodes in another way."""
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(folder, trust_remote_code=subject.config.model.trust_remote_code)
    texts = [str(subject.tokenizer.decode(found.input_ids)) for found in subject.sequences()]
    return sum(subject.tokenizer(text)["input_ids"] != loaded(text)["input_ids"] for text in texts)


def _logits(model: Any, examples: Examples) -> list[Tensor]:
    import torch

    model.eval()
    with torch.no_grad():
        return [model(input_ids=torch.tensor([each["input_ids"]]), use_cache=False).logits[0] for each in examples]
