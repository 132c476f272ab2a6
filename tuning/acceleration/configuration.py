"""The plugins that a run's configuration turns on: checked without torch, and made for the run."""

from __future__ import annotations

from collections.abc import Iterator

from tuning.acceleration.framework import AccelerationFramework
from tuning.acceleration.rules import Active
from tuning.acceleration.selection import select
from tuning.config.plugin_file import TOP
from tuning.config.rules import quantizes
from tuning.config.schema import TuningConfig
from tuning.errors import Problem, UserError
from tuning.quantization import model_config_of

_SECTION = "acceleration"
_PADDING_FREE = "training.attention.padding_free"
_QUANTIZED = "peft.quantization."


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
    found = select(section.plugins, section.strict_plugins, _device(config), is_complete=is_complete)
    for problem in found.problems:
        yield Problem(f"{_SECTION}.{problem.path}", problem.expected, problem.value, hint=problem.hint)
    for each in found.active if is_complete else ():
        path = f"{_SECTION}.{TOP}.{each.paths[0]}"
        yield from _without_its_method(config, path, each)
        yield from _not_for_the_model(config, path, each)


def _without_its_method(config: TuningConfig, path: str, each: Active) -> Iterator[Problem]:
    """Name what the run's method has that a plugin cannot work with."""
    method, quantizes_itself = config.peft.peft_method, quantizes(config)
    if _PADDING_FREE in each.paths and method in ("alora", "pt"):
        yield Problem(path, f"{method} needs each row in a sequence of its own", hint="Leave the stanza out.")
    if not each.plugin.requires_custom_loading:
        return
    if config.model.train_from_scratch:
        yield Problem(path, f"{each.name} loads weights; train_from_scratch loads none", hint="Leave one of them out.")
    elif any(one.startswith(_QUANTIZED) for one in each.paths):
        if method == "none":
            expected = "quantized weights cannot be trained; adapters on them can"
            yield Problem("peft.peft_method", expected, hint=f"Set peft_method=lora, or leave {each.paths[0]} out.")
        if quantizes_itself is not None:
            yield Problem(path, f"{quantizes_itself} asks for quantized weights, too", hint="Keep one.")


def _not_for_the_model(config: TuningConfig, path: str, each: Active) -> Iterator[Problem]:
    """Name a plugin that refuses the model by its `config.json`, where that is here to be read."""
    if (document := model_config_of(config)) is None:
        return
    try:
        each.plugin.check_model_config(str(config.model.model_name_or_path), document)
    except UserError as error:
        yield Problem(path, str(error).removeprefix(f"{each.paths[0]}: "))


def _device(config: TuningConfig) -> str | None:
    return "cpu" if dict(config.training)["use_cpu"] else None
