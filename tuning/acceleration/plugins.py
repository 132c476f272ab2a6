"""Every acceleration plugin by name, and the configuration paths that it acts on."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import packages_distributions, version
from typing import Any

from tuning import __version__
from tuning.acceleration.plugin import AccelerationPlugin
from tuning.errors import UserError
from tuning.registry import Registry

_BUILTIN: dict[str, tuple[str, ...]] = {
    "moe_plugin:MoePlugin": ("training.moe", "training.moe.scattermoe"),
    "bitsandbytes_plugin:BitsAndBytesPlugin": ("peft.quantization.bitsandbytes",),
    "gptq_plugin:AutoGPTQPlugin": ("peft.quantization.auto_gptq",),
    "padding_free:PaddingFreePlugin": ("training.attention.padding_free",),
    "multipack:MultipackPlugin": ("training.dataloader.multipack",),
    "fused_ops:FusedOpsPlugin": ("training.fused_ops_and_kernels", "peft.quantization.fused_ops_and_kernels"),
    "online_mixing:OnlineMixingPlugin": ("training.data.online_mixing", "training.odm", "training.odm.odm"),
    "compile_plugin:CompilePlugin": ("training.compile",),
}
"""Module and class -> the paths of which one turns the plugin on, in the order in which plugins act."""

_PATHS = {target.partition(":")[2]: paths for target, paths in _BUILTIN.items()}

PLUGINS: Registry[Any] = Registry(
    "acceleration plugin",
    {target.partition(":")[2]: f"tuning.acceleration.{target}" for target in _BUILTIN},
    "tuning.acceleration",
)
"""The built-in plugins, those of `register_plugin`, and those of packages: entry points that lead to the class."""


@dataclass(frozen=True)
class Registration:
    """A plugin, not imported yet, and the paths that turn it on: all of `and_paths`, and one of `or_paths`."""

    name: str
    load: Callable[[], type[AccelerationPlugin]]
    and_paths: tuple[str, ...] = ()
    or_paths: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """Return every path whose stanza the plugin is given."""
        return (*self.and_paths, *self.or_paths)

    def is_met_by(self, given: Collection[str]) -> bool:
        """Tell whether stanzas at the given paths turn the plugin on."""
        one_of_or = not self.or_paths or any(path in given for path in self.or_paths)
        return one_of_or and all(path in given for path in self.and_paths)


def register(
    plugin: type[AccelerationPlugin], and_paths: tuple[str, ...], or_paths: tuple[str, ...], name: str | None
) -> None:
    """Register a plugin of this process; one of the same name is replaced, but for built-in ones.

    Raises:
        UserError: the name is that of a built-in plugin, or no path is given.
    """
    name = name or plugin.__name__
    if name in _PATHS:
        raise UserError(f"acceleration plugin '{name}': a built-in plugin has this name; choose another")
    PLUGINS.register(name)(_registration(name, plugin, and_paths, or_paths))


def registrations(failures: list[str]) -> Iterator[Registration]:
    """Walk the registered plugins, the built-in ones first; one that cannot be used is added to `failures`."""
    for name, paths in _PATHS.items():
        yield Registration(name, lambda name=name: PLUGINS.load(name), or_paths=paths)
    for name in PLUGINS.names():
        if name not in _PATHS:
            try:
                yield _registered(name)
            except Exception as error:  # a package of somebody else's, which may fail in any way
                failures.append(f"acceleration plugin '{name}' cannot be used: {type(error).__name__}: {error}")


def _registered(name: str) -> Registration:
    found = PLUGINS.load(name)
    if isinstance(found, Registration):
        return found
    if not (isinstance(found, type) and issubclass(found, AccelerationPlugin)):
        raise TypeError("it is no subclass of AccelerationPlugin")
    return _registration(name, found, found.configuration_and_paths, found.configuration_or_paths)


def _registration(
    name: str, plugin: type[AccelerationPlugin], and_paths: tuple[str, ...], or_paths: tuple[str, ...]
) -> Registration:
    if not and_paths and not or_paths:
        raise UserError(f"acceleration plugin '{name}' names no configuration path that turns it on")
    return Registration(name, lambda: plugin, and_paths, or_paths)


def version_of(plugin: type[AccelerationPlugin]) -> str:
    """Return the version of the package that a plugin comes in; "unpackaged" where it comes in none."""
    package = plugin.__module__.partition(".")[0]
    if package == __name__.partition(".")[0]:
        return __version__
    found = _distributions().get(package)
    return version(found[0]) if found else str(getattr(sys.modules.get(package), "__version__", "unpackaged"))


@functools.cache
def _distributions() -> Mapping[str, list[str]]:
    """Map each importable package to the distributions that it comes in; a second look would take as long again."""
    return packages_distributions()
