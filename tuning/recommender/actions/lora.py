"""The adapters of LoRA: their size, scale, dropout and place."""

from __future__ import annotations

import math

from tuning.config.ir import IR
from tuning.recommender.action import Action, Kind, Recommendation, suggest
from tuning.recommender.facts import Facts
from tuning.recommender.memory import lora_parameters
from tuning.recommender.schedule import train_rows
from tuning.recommender.values import is_lora, parameters, power_of_two_from, power_of_two_up_to, whole

_USUAL_RANK, _LEAST_RANK, _HIGHEST_RANK = 16, 8, 256
_BITS_PER_PARAMETER = 2
_BITS_PER_TOKEN = 1
_ALPHA = 32
_REGRET = "Schulman et al., LoRA Without Regret, 2025"


class LoraRank(Action):
    """16, or more where the rows hold more than so small an adapter can."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Compare what the rows teach with what adapters hold.

        Source: Allen-Zhu and Li, arXiv 2404.05405: about 2 bits per parameter; 1 bit per supervised token is our guess.
        """
        if not is_lora(ir):
            return None
        shape = facts.model.shape if facts.model is not None else None
        tokens, each = _supervised_tokens(ir, facts), lora_parameters(shape, 1) if shape is not None else 0
        if not tokens or not each:
            comment = f"The usual rank of {_USUAL_RANK}: the model's shape or the rows' lengths are not known."
            return suggest(
                {"peft.r": _USUAL_RANK}, comment, Kind.MODEL_QUALITY, "torchtune, axolotl: 16 is the usual one"
            )
        needed = tokens * _BITS_PER_TOKEN / (_BITS_PER_PARAMETER * each)
        rank = min(max(power_of_two_from(needed), _USUAL_RANK), _HIGHEST_RANK, _thin(facts))
        comment = (
            f"{parameters(tokens)} supervised tokens at about {_BITS_PER_TOKEN} bit each need rank {math.ceil(needed)} "
            f"at {_BITS_PER_PARAMETER} bits per parameter; rank {rank} trains {parameters(rank * each)} parameters."
        )
        return suggest({"peft.r": rank}, comment, Kind.MODEL_QUALITY, f"{_REGRET}; Allen-Zhu and Li, arXiv 2404.05405")


class LoraAlpha(Action):
    """32, so that the learning rate need not follow the rank."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Keep the scale that the learning rates were measured at, also with use_rslora."""
        if not is_lora(ir):
            return None
        rank = whole(ir, "peft.r") or _USUAL_RANK
        if ir.get("peft.use_rslora") is True:
            alpha = round(_ALPHA / math.sqrt(rank), 2)
            comment = f"use_rslora divides by sqrt({rank}): {alpha} scales adapters as {_ALPHA} does without it."
        else:
            alpha, comment = _ALPHA, f"With lora_alpha {_ALPHA} the best learning rate hardly depends on r."
        return suggest({"peft.lora_alpha": alpha}, comment, Kind.MODEL_QUALITY, _REGRET)


class LoraDropout(Action):
    """None: one or a few passes hardly overfit so few parameters, and a mask costs memory in every adapter."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Leave dropout out."""
        if not is_lora(ir):
            return None
        comment = (
            "In a few passes adapters overfit little, and dropout keeps a mask and a copy of every adapter's input."
        )
        return suggest({"peft.lora_dropout": 0.0}, comment, Kind.MODEL_QUALITY, _REGRET)


class LoraTargetModules(Action):
    """All linear layers, the MLP's included."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Adapt every linear layer but the output; a model with experts has a rule of its own."""
        shape = facts.model.shape if facts.model is not None else None
        if not is_lora(ir) or (shape is not None and shape.num_experts):
            return None
        comment = "Adapters on attention alone learn less, even with the same number of parameters."
        return suggest({"peft.target_modules": "all-linear"}, comment, Kind.MODEL_QUALITY, _REGRET)


def _supervised_tokens(ir: IR, facts: Facts) -> int | None:
    rows, lengths = train_rows(ir, facts), facts.data.supervised_tokens if facts.data is not None else None
    return None if rows is None or lengths is None else math.ceil(rows * lengths.mean)


def _thin(facts: Facts) -> int:
    """Return the highest rank that is still low: a quarter of the hidden size."""
    shape = facts.model.shape if facts.model is not None else None
    return _HIGHEST_RANK if shape is None else max(_LEAST_RANK, power_of_two_up_to(shape.hidden_size / 4))
