"""Which plugins may act together, on which packages, devices and models; all that is wrong is told at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from tuning.acceleration.plugin import AccelerationPlugin
from tuning.errors import Problem


@dataclass(frozen=True)
class Active:
    """A plugin that acts: its name, the paths of its stanzas, the version of its package, and itself."""

    name: str
    paths: tuple[str, ...]
    version: str
    plugin: AccelerationPlugin

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(self.paths)})"


def missing_packages(plugin: type[AccelerationPlugin]) -> list[str]:
    """List the requirements of a plugin whose package is not installed at all."""
    return [text for text in plugin.require_packages if _installed(text) is None]


def violations(
    active: Sequence[Active], device: str | None, names: Mapping[str, str], is_complete: bool
) -> Iterator[Problem]:
    """Name what the active plugins cannot do together or here; `device` None: not known yet, and not looked at.

    `names` maps each registered path to its plugin. `is_complete` False: what plugins require may still be added.
    """
    yield from _loaders(active)
    for each in active:
        yield from _conflicts(each, [other for other in active if other is not each])
        yield from _lacking(each, active, names) if is_complete else ()
        yield from _versions(each)
        wanted = each.plugin.require_device
        if device is not None and wanted is not None and wanted != device:
            yield Problem(each.paths[0], f"{each.name} needs a {wanted} device, and this run has {device}")


def unfit_for(active: Sequence[Active], architectures: Collection[str]) -> Iterator[Problem]:
    """Name the plugins that are not made for a model; `architectures` are the names in its config.json."""
    for each in active:
        fits = each.plugin.restricted_model_archs
        if fits is not None and architectures and not fits & set(architectures):
            named = ", ".join(sorted(architectures))
            expected = f"{each.name} works with {', '.join(sorted(fits))}, and the model is {named}"
            yield Problem(each.paths[0], expected, hint="Leave the plugin out for this model.")


def _loaders(active: Sequence[Active]) -> Iterator[Problem]:
    loaders = [each for each in active if each.plugin.requires_custom_loading]
    if len(loaders) > 1:
        told = " and ".join(str(each) for each in loaders)
        yield Problem(loaders[-1].paths[0], f"only one plugin can load the model, and {told} would", hint="Keep one.")


def _conflicts(each: Active, others: Sequence[Active]) -> Iterator[Problem]:
    for other in others:
        if any(_covers(path, taken) for path in each.plugin.conflicts for taken in other.paths):
            yield Problem(each.paths[0], f"{each} cannot work beside {other}", hint="Keep one.")


def _lacking(each: Active, active: Sequence[Active], names: Mapping[str, str]) -> Iterator[Problem]:
    taken = [path for other in active for path in other.paths]
    for path in each.plugin.requires:
        if not any(_covers(path, one) for one in taken):
            lacking = f"{names[path]} ({path})" if path in names else path
            yield Problem(each.paths[0], f"{each.name} cannot work without {lacking}", hint=f"Add {path}.")


def _versions(each: Active) -> Iterator[Problem]:
    if not each.plugin.require_packages:
        return
    from packaging.requirements import Requirement

    for text in each.plugin.require_packages:
        requirement, found = Requirement(text), _installed(text)
        if found is not None and not requirement.specifier.contains(found, prereleases=True):
            hint = f"Install it with: pip install '{text}'"
            yield Problem(each.paths[0], f"{each.name} needs {text}, and {found} is installed", hint=hint)


def _installed(text: str) -> str | None:
    from packaging.requirements import Requirement

    try:
        return version(Requirement(text).name)
    except PackageNotFoundError:
        return None


def _covers(path: str, taken: str) -> bool:
    return taken == path or taken.startswith(f"{path}.")
