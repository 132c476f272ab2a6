"""Change the shares of the datasets of a run while it trains, by what the model still has to learn of each."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, PositiveInt

from tuning.acceleration.plugin import AccelerationPlugin
from tuning.config.section import Section
from tuning.errors import UserError

if TYPE_CHECKING:
    from accelerate import Accelerator
    from transformers import PreTrainedModel, TrainerCallback, TrainingArguments

    from tuning.acceleration.mixing_callback import MixingCallback

PATH = "training.data.online_mixing"
PATHS_OF_FMS = ("training.odm", "training.odm.odm")
COLUMN = "dataset"
"""Column of the training's rows that names the dataset of each."""


class OnlineMixingSettings(Section):
    """The stanza `training.data.online_mixing`, or `training.odm`."""

    update_interval: PositiveInt = 10
    """Optimizer steps between two updates of the shares."""
    sampling_interval: PositiveInt = 1
    """Rows that are drawn from a dataset before the next one is chosen."""
    reward_type: Literal["validation_loss", "train_loss", "entropy"] = "validation_loss"
    """What raises a dataset's share: the loss of rows that are not trained on, of rows that are, or the entropy of the
    predictions on them; nats a token."""
    num_reward_rows: PositiveInt = 8
    """Rows of each dataset that are measured at each update; with `validation_loss` they are not trained on."""
    eta: Annotated[float, Field(gt=0)] = 0.1
    """How far one update moves the shares."""
    gamma: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the rows that is drawn evenly from all datasets, whatever the rewards."""


class OnlineMixingPlugin(AccelerationPlugin):
    """Draw the rows of the training by shares that follow rewards, and log the shares as `mixing/<dataset>`.

    The training's rows have a column `dataset` that names where each is from; it is taken out before rows are
    collated. An epoch is as long as without; rows of one dataset may come twice in it, and some of another not at all.
    """

    configuration_or_paths = (PATH, *PATHS_OF_FMS)
    settings = OnlineMixingSettings
    conflicts = ("training.dataloader.multipack",)

    @property
    def requires_augmentation(self) -> bool:
        """Tell that the training's arguments are read and changed."""
        return True

    def augmentation(
        self, model: PreTrainedModel, train_args: TrainingArguments, modifiable_args: tuple[Any, ...] = (None,)
    ) -> tuple[PreTrainedModel, tuple[Any, ...]]:
        """Keep the column with the datasets from being dropped; the model stays as it is.

        Raises:
            UserError: rows are packed, or their order is decided by their lengths.
        """
        if getattr(train_args, "packing", False):
            raise UserError(f"{PATH}: packing joins rows of several datasets; set packing=false")
        if train_args.train_sampling_strategy != "random":
            raise UserError(f"{PATH}: train_sampling_strategy={train_args.train_sampling_strategy} orders rows, too")
        train_args.remove_unused_columns = False
        self.train_args = train_args
        return model, modifiable_args

    def get_callbacks_and_ready_for_train(
        self, model: PreTrainedModel | None = None, accelerator: Accelerator | None = None
    ) -> list[TrainerCallback]:
        """Wrap `prepare` of this accelerator; the callback measures, updates, logs and saves."""
        if accelerator is None:
            return []
        from tuning.acceleration.mixing_callback import MixingCallback

        callback = MixingCallback(self.chosen_settings())
        prepare: Any = accelerator.prepare
        wrapped = functools.partial(self._prepare, callback, accelerator.num_processes, prepare)
        setattr(accelerator, "prepare", wrapped)  # noqa: B010
        return [callback]

    def _prepare(self, callback: MixingCallback, num_ranks: int, prepare: Any, *objects: Any, **options: Any) -> Any:
        return prepare(*(callback.with_mixture(each, self.train_args, num_ranks) for each in objects), **options)
