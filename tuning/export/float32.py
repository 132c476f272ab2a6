"""Compute in 32 bits with weights of 16, which take no more memory than that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def computing_in_float32(model: Any) -> Iterator[None]:
    """Have each module compute with 32-bit copies of its own weights, which go when it is done.

    On CPUs without instructions for it, matrices of 16 bits are multiplied several times slower than those of 32; and
    rounding in 16 bits would hide small differences of weights.
    """
    handles = []
    for module in model.modules():
        weights = [one for one in module.parameters(recurse=False) if one.is_floating_point() and one.itemsize == 2]
        if weights:
            swap = _Swap(weights)
            handles += [module.register_forward_pre_hook(swap.widen), module.register_forward_hook(swap.restore)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Swap:
    """The weights of one module, and what they were before they were widened."""

    def __init__(self, weights: list[Any]) -> None:
        self.weights = weights
        self.narrow: list[Any] = []

    def widen(self, *_: Any) -> None:
        self.narrow = [weight.data for weight in self.weights]
        for weight in self.weights:
            weight.data = weight.data.float()

    def restore(self, *_: Any) -> None:
        for weight, narrow in zip(self.weights, self.narrow, strict=True):
            weight.data = narrow
        self.narrow = []
