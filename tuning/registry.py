"""The one way to swap a part: a name that leads to an object, imported only when it is asked for."""

from __future__ import annotations

import difflib
import functools
import importlib
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoints, entry_points
from typing import Any, Generic, TypeVar

from tuning.errors import UserError

T = TypeVar("T")


class Registry(Generic[T]):
    """Map names to objects: built-in ones by `"module:object"`, others by decorator or by package entry point."""

    def __init__(self, kind: str, builtin: Mapping[str, str], entry_point_group: str) -> None:
        self.kind = kind
        self.entry_point_group = entry_point_group
        self._builtin = dict(builtin)
        self._registered: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Register the decorated object under `name`."""

        def decorate(target: T) -> T:
            self._registered[name] = target
            return target

        return decorate

    def names(self) -> list[str]:
        """List every known name, sorted, without importing what it leads to."""
        return sorted({*self._registered, *self._builtin, *self._installed().names})

    def load(self, name: str) -> T:
        """Import and return the object called `name`.

        Raises:
            UserError: nothing is registered under that name, or the installed package that brings it fails.
        """
        if name in self._registered:
            return self._registered[name]
        if name in self._builtin:
            return _import(self._builtin[name])
        for point in self._installed().select(name=name):
            try:
                return point.load()
            except (Exception, SystemExit) as error:  # another package's own code may fail in any way
                told = f"{self.kind} '{name}': {point.value} cannot be imported: {type(error).__name__}: {error}"
                raise UserError(told) from error
        raise UserError(f"unknown {self.kind} '{name}'. {did_you_mean(name, self.names())}")

    def _installed(self) -> EntryPoints:
        return _entry_points(tuple(sys.path)).select(group=self.entry_point_group)


@functools.lru_cache(maxsize=1)
def _entry_points(_search_path: tuple[str, ...]) -> Any:
    """Read what the packages on the search path bring: a file of each of them, so once for all registries."""
    return entry_points()


def did_you_mean(name: str, known: list[str]) -> str:
    """Suggest the known names nearest to a misspelt one, in any case of letters, or list them all."""
    by_lower = {each.lower(): each for each in known}
    nearest = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)
    if nearest:
        return "Did you mean " + " or ".join(f"'{by_lower[match]}'" for match in nearest) + "?"
    return "Known: " + ", ".join(known) + "."


def _import(target: str) -> Any:
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)
