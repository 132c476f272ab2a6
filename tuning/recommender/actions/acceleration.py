"""Which acceleration plugins act, where the user names none."""

from __future__ import annotations

from tuning.acceleration.supported import why_no_supervised_loss, why_no_varlen_attention
from tuning.config.ir import IR
from tuning.recommender.action import Action, Kind, Recommendation, suggest
from tuning.recommender.facts import Facts
from tuning.recommender.values import (
    FUSED_OPS,
    PADDING_FREE,
    by_user,
    is_padding_free,
    needs_rows_alone,
    takes_plugins,
)

_GAIN_OF_PADDING_FREE = "1.5"
_GAIN_OF_FUSED_OPS = "1.8"
_SOURCE = (
    "`python -m benchmarks.run`, docs/acceleration-measured.md: 11 million parameters on a CPU without bf16, in "
    "tokens per CPU second: 456 padded, 684 without padding, 1,212 with the loss over supervised tokens besides"
)
_OWN_KERNELS = ("training.torch_compile", "training.use_liger_kernel")


class PaddingFreePlugin(Action):
    """No padding on a CPU, for models whose rows the variable-length attention keeps apart."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Leave out runs in which the rows of a batch would not learn what they learn when padded."""
        if not _is_on_a_cpu(ir, facts) or facts.model is None or _wants_padding(ir):
            return None
        kind = facts.model.model_type
        if why_no_varlen_attention(kind) is not None or needs_rows_alone(ir):
            return None
        comment = (
            f"The rows of a batch stand one after the other, and {kind}'s attention runs over each by itself: about "
            f"{_GAIN_OF_PADDING_FREE} times the tokens per second of padded batches, with the same loss."
        )
        return suggest({PADDING_FREE: {}}, comment, Kind.SYSTEM_PERFORMANCE, _SOURCE)


class FusedOpsPlugin(Action):
    """A loss that looks at the tokens that are learned alone, on a CPU."""

    def apply(self, ir: IR, facts: Facts) -> Recommendation | None:
        """Leave prompts and padding out of the multiplication with the head, where the rows have no padding either."""
        if not _is_on_a_cpu(ir, facts) or facts.model is None or not is_padding_free(ir):
            return None
        if why_no_supervised_loss(facts.model.model_type) is not None or needs_rows_alone(ir):
            return None
        comment = (
            "The head is multiplied with the tokens that are learned, and with no others, and loss and gradient come "
            f"from one pass: about {_GAIN_OF_FUSED_OPS} times the tokens per second of TRL's loss, and less memory."
        )
        return suggest({FUSED_OPS: {}}, comment, Kind.SYSTEM_PERFORMANCE, _SOURCE)


def _is_on_a_cpu(ir: IR, facts: Facts) -> bool:
    """Tell whether the run is one on a CPU that plugins may act in, and that brings no kernels of its own."""
    if facts.hardware is None or facts.hardware.accelerator != "cpu" or not takes_plugins(ir):
        return False
    return not any(by_user(ir, path) is True for path in _OWN_KERNELS)


def _wants_padding(ir: IR) -> bool:
    """Tell whether the user wants rows apart, or what works over the length of a padded batch, as NEFTune's noise."""
    if by_user(ir, "training.padding_free") is False or ir.get("training.packing") is True:
        return True
    attention = by_user(ir, "model.attn_implementation")
    return attention not in (None, "sdpa") or bool(by_user(ir, "training.neftune_noise_alpha"))
