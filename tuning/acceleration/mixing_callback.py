"""Follow a training: measure each dataset, update the shares, log them, and keep them in every checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from accelerate.utils import broadcast_object_list
from torch.utils.data import DataLoader
from transformers import TrainerCallback

from tuning.acceleration.balanced_batches import with_batches
from tuning.acceleration.mixed_batches import MixedBatchSampler, mean_loss_and_entropy
from tuning.acceleration.mixture import Mixture
from tuning.acceleration.online_mixing import COLUMN, PATH
from tuning.errors import UserError

if TYPE_CHECKING:
    from tuning.acceleration.online_mixing import OnlineMixingSettings

_STATE = "online_mixing"
"""Where the trainer's state holds the mixture."""


class MixingCallback(TrainerCallback):
    """Own the mixture of one training; its state stands in the trainer's, which every checkpoint holds."""

    def __init__(self, settings: OnlineMixingSettings) -> None:
        """Wait for the training's data loader."""
        self.settings = settings
        self.mixture: Mixture | None = None
        self.sampler: MixedBatchSampler | None = None
        self.probes: list[list[Any]] = []
        self.steps_ahead = 1

    def with_mixture(self, loader: Any, args: Any, num_ranks: int) -> Any:
        """Return the training's data loader with mixed batches, and any other object as it is.

        Raises:
            UserError: the rows do not say which dataset they are from, or too few are from one.
        """
        if not isinstance(loader, DataLoader) or loader.worker_init_fn is None:
            return loader
        dataset: Any = loader.dataset
        groups = _groups(dataset)
        rows = dataset.remove_columns(COLUMN)
        seed = args.seed if args.data_seed is None else args.data_seed
        drawn = self._set_aside(rows, groups, seed)
        shares = [len(group) / len(dataset) for group in groups.values()]
        self.mixture = Mixture(list(groups), shares, self.settings.eta, self.settings.gamma)
        size, accumulation = int(loader.batch_size or 1), args.gradient_accumulation_steps
        num_batches = -(-len(dataset) // (size * num_ranks)) * num_ranks
        self.sampler = MixedBatchSampler(
            drawn, self.mixture, num_batches, size, num_ranks * accumulation, self.settings.sampling_interval, seed
        )
        # Batches are drawn before they are asked for: accelerate holds one back, and each worker has some.
        self.steps_ahead = 1 + loader.num_workers * (loader.prefetch_factor or 0) // accumulation
        return with_batches(loader, self.sampler, rows)

    def _set_aside(self, rows: Any, groups: dict[str, np.ndarray[Any, Any]], seed: int) -> list[Any]:
        """Choose the rows that are measured; returns those that are drawn, of each dataset."""
        count, drawn = self.settings.num_reward_rows, []
        self.probes = []
        for name, group in groups.items():
            order = np.random.default_rng(seed).permutation(group)
            held_out = self.settings.reward_type == "validation_loss"
            if held_out and len(order) <= count:
                raise UserError(f"{PATH}: dataset {name} has {len(order)} rows; num_reward_rows takes {count} of them")
            self.probes.append([rows[int(number)] for number in order[:count]])
            drawn.append(order[count:] if held_out else order)
        return drawn

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take up the shares of the checkpoint that the training goes on from."""
        found = state.stateful_callbacks.get(_STATE)
        if self.mixture is not None and state.global_step > 0 and found:
            try:
                self.mixture.restore(found)
            except ValueError as error:
                raise UserError(f"{PATH}: {error}") from error

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Tell the sampler the epoch, by which it draws."""
        if self.sampler is not None:
            self.sampler.epoch = int((state.epoch or 0) + 1e-6)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Measure the datasets, and change the shares of the steps for which nothing is drawn yet."""
        if self.mixture is not None and state.global_step % self.settings.update_interval == 0:
            self._update(self.mixture, kwargs["model"], state.global_step + self.steps_ahead)
        if self.mixture is not None:
            state.stateful_callbacks[_STATE] = self.mixture.state()

    def _update(self, mixture: Mixture, model: Any, from_step: int) -> None:
        which = 1 if self.settings.reward_type == "entropy" else 0
        rewards = [mean_loss_and_entropy(model, probe)[which] for probe in self.probes]
        (rewards,) = broadcast_object_list([rewards])  # ranks may differ in the last bit, and must draw the same rows
        mixture.update(rewards, from_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Add the shares to what is logged."""
        if self.mixture is None or logs is None or "loss" not in logs:
            return
        shares = {f"mixing/{name}": round(share, 6) for name, share in self.mixture.shares.items()}
        logs |= shares
        state.log_history[-1] |= shares


def _groups(dataset: Any) -> dict[str, np.ndarray[Any, Any]]:
    """Return the numbers of the rows of each dataset, by name.

    Raises:
        UserError: the rows do not say which dataset they are from, or are all from one.
    """
    if not hasattr(dataset, "__len__") or COLUMN not in getattr(dataset, "column_names", ()):
        told = f"the training's rows need a column '{COLUMN}' that names the dataset of each row"
        raise UserError(f"{PATH}: {told}; rows that are streamed have none")
    names = np.array(dataset[COLUMN], dtype=str)
    groups = {str(name): np.flatnonzero(names == name) for name in np.unique(names)}
    if len(groups) < 2:
        raise UserError(f"{PATH}: all rows are from one dataset, and there is nothing to mix")
    return groups
