"""The plugins that a run's configuration turns on: checked without torch, and made for the run."""

from __future__ import annotations

from collections.abc import Iterator

from tuning.acceleration.framework import AccelerationFramework
from tuning.acceleration.selection import select
from tuning.config.plugin_file import TOP
from tuning.config.schema import TuningConfig
from tuning.errors import Problem

_SECTION = "acceleration"


def unusable_stanzas(config: TuningConfig) -> Iterator[Problem]:
    """Name what is wrong with the stanzas of plugins, and with those that act together; more may still be added."""
    yield from _problems(config, is_complete=False)


def unusable_plugins(config: TuningConfig) -> Iterator[Problem]:
    """Name what is wrong with the plugins of a completed configuration: what they require must be there, too."""
    yield from _problems(config, is_complete=True)


def framework_of(config: TuningConfig) -> AccelerationFramework:
    """Make the framework of a run; `use_acceleration` false makes one without plugins."""
    return AccelerationFramework(
        {TOP: config.acceleration.plugins} if config.acceleration.use_acceleration else None,
        strict=config.acceleration.strict_plugins,
        device=_device(config),
    )


def _problems(config: TuningConfig, is_complete: bool) -> Iterator[Problem]:
    section = config.acceleration
    if not section.use_acceleration or not section.plugins:
        return
    for problem in select(section.plugins, section.strict_plugins, _device(config), is_complete=is_complete).problems:
        yield Problem(f"{_SECTION}.{problem.path}", problem.expected, problem.value, hint=problem.hint)


def _device(config: TuningConfig) -> str | None:
    return "cpu" if dict(config.training)["use_cpu"] else None
