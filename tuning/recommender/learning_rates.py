"""Learning rates of LoRA that were found by trying, for model families and sizes; other models follow a formula."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

MOST_APART = 1.4
"""Factor between two sizes that still count as the same. Source: our own choice: 7 and 8 billion, but not 4 and 8."""


class Measured(NamedTuple):
    """The best rate of a model that was trained at several."""

    model: str
    num_parameters: float
    rate: float


_LLAMA = (
    Measured("Llama 3.2 1B", 1.24e9, 1e-3),
    Measured("Llama 3.2 3B", 3.21e9, 1e-3),
    Measured("Llama 3.1 8B", 8.03e9, 3e-4),
    Measured("Llama 3.1 70B", 70.6e9, 3e-4),
)
_QWEN3 = (
    Measured("Qwen3 4B", 4.02e9, 1e-3),
    Measured("Qwen3 8B", 8.19e9, 1e-3),
    Measured("Qwen3 32B", 32.8e9, 3e-4),
)
_QWEN3_MOE = (Measured("Qwen3 30B-A3B", 30.5e9, 1e-3), Measured("Qwen3 235B-A22B", 235e9, 3e-4))
_QWEN3_5 = (Measured("Qwen3.5 4B", 4.2e9, 3e-4), Measured("Qwen3.5 27B", 27e9, 3e-4))
_QWEN3_5_MOE = (Measured("Qwen3.5 35B-A3B", 35e9, 3e-4), Measured("Qwen3.5 397B-A17B", 397e9, 3e-4))
_NEMOTRON = (Measured("Nemotron 3 Nano 30B-A3B", 31.6e9, 4e-4), Measured("Nemotron 3 Super 120B-A12B", 120e9, 4e-4))

FAMILIES: Mapping[str, tuple[Measured, ...]] = {
    "llama": _LLAMA,
    "qwen3": _QWEN3,
    "qwen3_moe": _QWEN3_MOE,
    "qwen3_5": _QWEN3_5,
    "qwen3_5_moe": _QWEN3_5_MOE,
    "deepseek_v3": (Measured("DeepSeek V3.1", 671e9, 4e-4),),
    "nemotron_h": _NEMOTRON,
    "gpt_oss": (Measured("gpt-oss 120B", 117e9, 3e-4),),
}
"""What was measured, by `model_type`.

Source: tinker-cookbook, recipes/chat_sl/results/sft_sweep.md (Tulu 3, 128 sequences per update, 780 steps): the rate
with the least held-out loss at rank 16, or at the highest rank where 16 was not tried. gpt-oss 20B is left out, because
its best rate was the higher of only two. The Qwen3 models up to 30 billion lose little at 3e-4: 0.0033 at most.
"""


def measured(model_type: str | None, num_parameters: int | None) -> Measured | None:
    """Find the measurement of a model of this family that is nearest in size, within a factor of 1.4."""
    if not model_type or not num_parameters:
        return None
    family = FAMILIES.get(model_type.removesuffix("_text"), ())
    nearest = min(family, key=lambda found: _apart(found, num_parameters), default=None)
    return nearest if nearest is not None and _apart(nearest, num_parameters) <= math.log(MOST_APART) else None


def _apart(found: Measured, num_parameters: int) -> float:
    return abs(math.log(found.num_parameters / num_parameters))
