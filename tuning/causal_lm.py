"""What transformers' causal language models share: the label that teaches nothing, and what follows their heads."""

from __future__ import annotations

from typing import Any

IGNORED_LABEL = -100
"""Label of tokens that the loss does not fall on. Source: torch's cross_entropy, ignore_index."""


def scale_and_cap(config: Any) -> tuple[float, float | None]:
    """Return what a model multiplies the logits of its head by, and where it caps them softly; None: nowhere.

    Families have different names for the same factor.
    """
    text = config.get_text_config()
    factors = (getattr(text, name, None) for name in ("logit_scale", "output_multiplier", "lm_head_multiplier"))
    scale = next((float(factor) for factor in factors if factor is not None), None)
    if scale is None and (divisor := getattr(text, "logits_scaling", None)) is not None:
        scale = float(divisor) if text.model_type == "hyperclovax" else 1 / divisor
    return 1.0 if scale is None else scale, getattr(text, "final_logit_softcapping", None)
