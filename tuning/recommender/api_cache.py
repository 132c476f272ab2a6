"""Keep what was found out for the last questions, and find it out once where many ask at the same time."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Cache(Generic[T]):
    """The answers to the last `most_kept` questions; `most_at_once` threads at most look for one at the same time."""

    def __init__(self, most_kept: int, most_at_once: int) -> None:
        self.most_kept = most_kept
        self._kept: OrderedDict[Hashable, Future[T]] = OrderedDict()
        self._lock = threading.Lock()
        self._turns = threading.Semaphore(most_at_once)

    def __len__(self) -> int:
        """Count the answers that are kept or being looked for."""
        return len(self._kept)

    def get(self, key: Hashable, find: Callable[[], T]) -> T:
        """Return the answer under a key; `find` is asked where there is none, once for all threads that wait for it.

        Raises:
            Exception: what `find` raises, for all who wait; it is not kept.
        """
        with self._lock:
            known = self._kept.get(key)
            future = self._kept.setdefault(key, Future()) if known is None else known
            self._kept.move_to_end(key)
            while len(self._kept) > self.most_kept:
                self._kept.popitem(last=False)
        if known is None:
            self._find(key, future, find)
        return future.result()

    def _find(self, key: Hashable, future: Future[T], find: Callable[[], T]) -> None:
        try:
            with self._turns:
                future.set_result(find())
        except BaseException as error:
            future.set_exception(error)
            with self._lock:
                if self._kept.get(key) is future:
                    del self._kept[key]
