"""The acceleration framework: the plugins of one configuration, as one thing that loads and changes one model."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tuning.acceleration.plugin import AccelerationPlugin
from tuning.acceleration.rules import Active, unfit_for
from tuning.acceleration.selection import select
from tuning.config.locations import located
from tuning.config.plugin_file import plugins_of, read_plugin_file
from tuning.errors import ConfigError, UserError

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch.utils.hooks import RemovableHandle
    from transformers import PreTrainedModel, TrainerCallback, TrainingArguments

logger = logging.getLogger(__name__)

_OF_THE_HUB = ("revision", "cache_dir")


class AccelerationFramework:
    """The plugins that a configuration turns on; without a configuration there are none, and nothing is changed.

    `config_path_or_mapping` is a YAML file or a mapping with the key `plugins`. `strict`: a stanza whose plugin or
    package is not installed is an error. `device` is the type of the device that trains; None: as torch finds it.

    Raises:
        ConfigError: with everything that is wrong with the configuration.
    """

    def __init__(
        self,
        config_path_or_mapping: str | Path | Mapping[str, Any] | None = None,
        *,
        strict: bool = False,
        device: str | None = None,
    ) -> None:
        given = config_path_or_mapping
        if given is None or isinstance(given, Mapping):
            source, plugins = "argument", plugins_of(given, "argument")
        else:
            source, plugins = f"file {given}", read_plugin_file(str(given))
        found = select(plugins, strict, device, source)
        if device is None and any(each.plugin.require_device for each in found.active):
            found = select(plugins, strict, _device(), source)
        if found.problems:
            raise ConfigError(located(found.problems))
        for notice in found.notices:
            logger.warning("%s", notice)
        self._active: tuple[Active, ...] = tuple(found.active)
        self._reminder: RemovableHandle | None = None

    @property
    def active_plugins(self) -> Mapping[str, str]:
        """Map the name of each plugin that acts to the version of its package."""
        return MappingProxyType({each.name: each.version for each in self._active})

    @property
    def requires_custom_loading(self) -> bool:
        """Tell whether a plugin loads the model."""
        return any(each.plugin.requires_custom_loading for each in self._active)

    @property
    def requires_augmentation(self) -> bool:
        """Tell whether a plugin changes the model before the trainer is made."""
        return any(each.plugin.requires_augmentation for each in self._active)

    def check_model(self, model_name_or_path: str, **kwargs: Any) -> None:
        """Read the architecture in config.json, before any weights, and refuse plugins that are not made for it.

        Raises:
            ConfigError: names these plugins.
        """
        if any(each.plugin.restricted_model_archs is not None for each in self._active):
            self._check_architectures(_architectures(model_name_or_path, kwargs))

    def model_loader(self, model_name: str, **kwargs: Any) -> PreTrainedModel:
        """Load a model by the plugin that does, else by `AutoModelForCausalLM.from_pretrained`.

        Raises:
            ConfigError: a plugin is not made for this model.
        """
        self.check_model(model_name, **kwargs)
        for each in self._active:
            if each.plugin.requires_custom_loading:
                return each.plugin.model_loader(model_name, **kwargs)
        from transformers import AutoModelForCausalLM

        wanted = {"output_loading_info": True, "ignore_mismatched_sizes": True}
        loaded_with: Any = AutoModelForCausalLM.from_pretrained(model_name, **{**kwargs, **wanted})
        model, loaded = loaded_with
        if not kwargs.get("ignore_mismatched_sizes"):
            _refuse_random_weights(model_name, loaded)
        return model

    def augmentation(
        self, model: PreTrainedModel, train_args: TrainingArguments, modifiable_args: tuple[Any, ...] = (None,)
    ) -> tuple[PreTrainedModel, tuple[Any, ...]]:
        """Let every plugin change the model and the arguments; `modifiable_args` is `(peft_config,)`.

        A peft_config that comes back as None was used up: the trainer must make no adapters.

        Raises:
            ConfigError: a plugin is not made for this model.
        """
        self._check_architectures({_base_of(model).__class__.__name__})
        for each in self._active:
            if each.plugin.requires_augmentation:
                model, modifiable_args = each.plugin.augmentation(model, train_args, modifiable_args)
        self._remind_of_callbacks(model)
        return model, modifiable_args

    def get_callbacks_and_ready_for_train(
        self, model: Any = None, accelerator: Accelerator | None = None
    ) -> list[TrainerCallback]:
        """Let every plugin get the model and the accelerator of a trainer ready; returns callbacks for this trainer."""
        self._forget_reminder()
        return [
            callback
            for each in self._active
            for callback in each.plugin.get_callbacks_and_ready_for_train(model, accelerator)
        ]

    def _remind_of_callbacks(self, model: Any) -> None:
        """Warn at a first step of training that comes before plugins got ready for it: they would do nothing."""
        waiting = [each.name for each in self._active if _acts_in_training(each.plugin)]
        self._forget_reminder()

        def remind(module: Any, *_: Any) -> None:
            if module.training:
                self._forget_reminder()
                how = "call get_callbacks_and_ready_for_train(trainer.model) and add what it returns to the trainer"
                logger.warning("%s: not in effect; before the training, %s", ", ".join(waiting), how)

        if waiting and hasattr(model, "register_forward_pre_hook"):
            self._reminder = model.register_forward_pre_hook(remind)

    def _forget_reminder(self) -> None:
        if self._reminder is not None:
            self._reminder.remove()
            self._reminder = None

    def _check_architectures(self, architectures: Collection[str]) -> None:
        problems = list(unfit_for(self._active, architectures))
        if problems:
            raise ConfigError(problems)


def _acts_in_training(plugin: AccelerationPlugin) -> bool:
    base = AccelerationPlugin.get_callbacks_and_ready_for_train
    return type(plugin).get_callbacks_and_ready_for_train is not base


def _refuse_random_weights(model_name: str, loaded: Mapping[str, Any]) -> None:
    """Refuse a model of which some weights are not there, or have another shape: they would be random.

    Raises:
        UserError: names the first of them.
    """
    missing = sorted(loaded["missing_keys"])
    wrong = sorted(f"{name} {tuple(has)} in place of {tuple(wants)}" for name, has, wants in loaded["mismatched_keys"])
    for told, names in (("are not there", missing), ("have another shape", wrong)):
        if names:
            first = ", ".join([*names[:3], *(["…"] if len(names) > 3 else [])])
            raise UserError(
                f"model.model_name_or_path: of the weights that the config.json of '{model_name}' asks for, "
                f"{len(names)} {told} ({first}), and would be random"
            )


def _base_of(model: Any) -> Any:
    """Return the model inside of adapters."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _architectures(name: str, kwargs: Mapping[str, Any]) -> Collection[str]:
    """Read `architectures` of a model's config.json; empty where it has none, or cannot be had."""
    file = Path(name) / "config.json"
    try:
        if not Path(name).is_dir():
            from huggingface_hub import hf_hub_download

            chosen = {key: kwargs[key] for key in _OF_THE_HUB if kwargs.get(key) is not None}
            file = Path(hf_hub_download(name, "config.json", **chosen))
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # what is wrong with it, the loader tells
        return ()
    return [str(each) for each in document.get("architectures") or ()] if isinstance(document, dict) else ()


def _device() -> str:
    import torch

    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return "cpu" if found is None else found.type
