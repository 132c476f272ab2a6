"""What an acceleration plugin is; the base does nothing.

`tune validate` reads the class to check its stanza, so the module that holds the class imports neither torch nor
transformers at its top: what needs them stands in a module of its own, or is imported inside of the methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tuning.config.section import Section

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel, TrainerCallback, TrainingArguments


class AccelerationPlugin:
    """Change how one model is loaded and trained: that model, that trainer, never a class or a module.

    `configurations` maps each configuration path to its stanza, with the keys that were given and `settings` accepts.
    """

    restricted_model_archs: frozenset[str] | None = None
    """Names in `architectures` of config.json that it works with; None: any."""
    require_packages: tuple[str, ...] = ()
    """Requirements, as pip writes them."""
    require_device: str | None = None
    """Type of the device that it needs, as in cuda; None: any."""
    settings: type[Section] | None = None
    """What a stanza may hold; None: anything."""
    conflicts: tuple[str, ...] = ()
    """Configuration paths of plugins that it cannot work beside."""
    requires: tuple[str, ...] = ()
    """Configuration paths of plugins that it cannot work without."""
    configuration_and_paths: tuple[str, ...] = ()
    """Configuration paths that must all be there for the plugin to act."""
    configuration_or_paths: tuple[str, ...] = ()
    """Configuration paths of which one must be there."""

    def __init__(self, configurations: Mapping[str, Mapping[str, Any]]) -> None:
        self.configurations = configurations

    def chosen_settings(self) -> Any:
        """Return the stanzas as one instance of `settings`, with the defaults of what was not given."""
        kind = self.settings
        if kind is None:
            raise TypeError(f"{type(self).__name__} declares no settings")
        return kind.model_validate({key: value for each in self.configurations.values() for key, value in each.items()})

    @property
    def requires_custom_loading(self) -> bool:
        """Tell whether the model is loaded by `model_loader`; at most one active plugin may say so."""
        return False

    @property
    def requires_augmentation(self) -> bool:
        """Tell whether the model is changed by `augmentation`."""
        return False

    def check_model_config(self, model_name: str, model_config: Mapping[str, Any]) -> None:
        """Refuse a model by its `config.json`, before any of it is loaded.

        Raises:
            UserError: the plugin is not made for it.
        """

    def model_loader(self, model_name: str, **kwargs: Any) -> PreTrainedModel:
        """Load the model; the arguments are those of `AutoModelForCausalLM.from_pretrained`."""
        raise TypeError(f"{type(self).__name__} loads no models")

    def augmentation(
        self, model: PreTrainedModel, train_args: TrainingArguments, modifiable_args: tuple[Any, ...] = (None,)
    ) -> tuple[PreTrainedModel, tuple[Any, ...]]:
        """Return the changed model and arguments; `train_args` may be changed in place.

        `modifiable_args` is `(peft_config,)`; a plugin that has made the adapters itself gives None back for it.
        """
        return model, modifiable_args

    def get_callbacks_and_ready_for_train(
        self, model: PreTrainedModel | None = None, accelerator: Accelerator | None = None
    ) -> list[TrainerCallback]:
        """Return callbacks for the trainer; called once it exists, with its model and its accelerator.

        Here the forward of this model can be changed, and `prepare` of this accelerator be wrapped.
        """
        return []

    @staticmethod
    def register_plugin(
        plugin: type[AccelerationPlugin],
        configuration_and_paths: tuple[str, ...] | list[str] = (),
        configuration_or_paths: tuple[str, ...] | list[str] = (),
        name: str | None = None,
    ) -> None:
        """Register a plugin under configuration paths; `name` is the name of its class where none is given."""
        from tuning.acceleration.plugins import register

        register(plugin, tuple(configuration_and_paths), tuple(configuration_or_paths), name)
