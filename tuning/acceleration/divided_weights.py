"""Models whose weights are not all here while they are made ready: what can be seen of them, and by whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def is_divided(model: nn.Module) -> bool:
    """Tell whether DeepSpeed's ZeRO-3 has divided the weights already, so that no forward can run yet."""
    return any(hasattr(weight, "ds_id") for weight in model.parameters())


def as_the_first_process(found: bool) -> bool:
    """Return what the first process has found: FSDP leaves the weights of all others unread until it divides them."""
    from torch import distributed

    if not (distributed.is_available() and distributed.is_initialized()):
        return found
    told: list[Any] = [found]
    distributed.broadcast_object_list(told)
    return bool(told[0])
