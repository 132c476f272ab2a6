"""Count the bytes of the tensors that are alive while a program runs, by what they are for."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class LiveStorages:
    """A ledger of storages: each counts once, under one part, from its first appearance until it is freed.

    `part` is what new storages count as, and `moment` what the present stretch of the program is called; `highest`
    keeps for each moment what the parts held when their sum was largest.
    """

    def __init__(self) -> None:
        self.part = self.moment = ""
        self.held: Counter[str] = Counter()
        self.highest: dict[str, Counter[str]] = {}
        self._entries: dict[int, tuple[weakref.ref[Any], str, int]] = {}

    def hold(self, tensor: torch.Tensor, part: str | None = None) -> None:
        """Count a tensor's storage from now on; where it is known already, a `part` moves it there."""
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self._entries:
            if part is not None:
                self._move(key, part)
            return
        num_bytes = storage.nbytes()
        self._entries[key] = (weakref.ref(storage, lambda _: self._drop(key)), part or self.part, num_bytes)
        self.held[part or self.part] += num_bytes
        self._note()

    def enter(self, moment: str, part: str) -> None:
        """Begin a stretch of the program."""
        self.moment, self.part = moment, part
        self._note()

    def _move(self, key: int, part: str) -> None:
        reference, old, num_bytes = self._entries[key]
        self._entries[key] = (reference, part, num_bytes)
        self.held[old] -= num_bytes
        self.held[part] += num_bytes

    def _drop(self, key: int) -> None:
        _, part, num_bytes = self._entries.pop(key)
        self.held[part] -= num_bytes

    def _note(self) -> None:
        highest = self.highest.get(self.moment)
        if highest is None or self.held.total() > highest.total():
            self.highest[self.moment] = self.held.copy()


def watch(ledger: LiveStorages, tied_shape: tuple[int, ...] | None = None) -> AbstractContextManager[Any]:
    """Enter every tensor that an operation returns into the ledger, for as long as the context lasts.

    `tied_shape` is that of a weight that is used twice: autograd adds its two gradients up in place, but fake ones not.
    """
    from torch import Tensor, is_grad_enabled, ops
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(
            self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            if func is ops.aten.add.Tensor and args[0].shape == tied_shape and not is_grad_enabled():
                func = ops.aten.add_.Tensor
            results = func(*args, **(kwargs or {}))
            for result in tree_leaves(results):
                if isinstance(result, Tensor):
                    ledger.hold(result)
            return results

    return Watch()
