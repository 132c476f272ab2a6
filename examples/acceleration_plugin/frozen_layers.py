"""An acceleration plugin in one class: the lowest layers of the model are not trained, which saves their gradients."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from tuning.acceleration.plugin import AccelerationPlugin
from tuning.config.section import Section


class FrozenLayersSettings(Section):
    """The stanza; a key that is not here, and a value of another type, are refused before the model is loaded."""

    num_layers: int = Field(1, ge=1)
    """Layers to freeze, from the lowest."""


class FrozenLayersPlugin(AccelerationPlugin):
    """Freeze the embeddings and the lowest layers of one model."""

    configuration_or_paths = ("training.frozen_layers",)
    settings = FrozenLayersSettings
    restricted_model_archs = frozenset({"LlamaForCausalLM", "MistralForCausalLM", "Qwen3ForCausalLM"})

    @property
    def requires_augmentation(self) -> bool:
        """Tell that the model is changed before the trainer is made."""
        return True

    def augmentation(
        self, model: Any, train_args: Any, modifiable_args: tuple[Any, ...] = (None,)
    ) -> tuple[Any, tuple[Any, ...]]:
        """Take the gradients from the weights; arguments and adapters stay as they are."""
        lowest = model.model.layers[: self.chosen_settings().num_layers]
        for part in (model.get_input_embeddings(), *lowest):
            part.requires_grad_(False)
        return model, modifiable_args
