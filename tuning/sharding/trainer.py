"""TRL's trainer with FSDP2 or DeepSpeed: checkpoints that any number of processes takes up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME

from tuning.checkpoints.search import UNFINISHED
from tuning.checkpoints.trainer import CheckpointedTrainer, told_as_unusable
from tuning.sharding.deepspeed_parts import check_deepspeed_parts, is_divided_otherwise
from tuning.sharding.parts import check_metadata, has_parts, load_model_parts, load_optimizer_parts
from tuning.sharding.universal import load_in_universal_form
from tuning.sharding.whole import copy_into, divided, gathered, gathered_model, weights_by_saved_name
from tuning.weight_files import ADAPTER_WEIGHTS, WEIGHTS


class ShardedTrainer(CheckpointedTrainer):
    """Saves a divided model as one process would, or in parts where `SHARDED_STATE_DICT` asks for that.

    Weights, optimizer and schedule of a whole checkpoint are the files of an undivided run, so a run may go on with or
    without FSDP2. Parts are those of torch's distributed checkpoints, and are taken up by any number of processes, too.
    The model at the end is always whole.
    """

    @property
    def saves_parts(self) -> bool:
        """Tell whether checkpoints are in parts."""
        plugin: Any = self.accelerator.state.fsdp_plugin
        return self.accelerator.is_fsdp2 and "SHARDED" in str(plugin.state_dict_type)

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train, as transformers does, unless the optimizer of the checkpoint could not be taken up."""
        if isinstance(resume_from_checkpoint, str):
            num_processes = self.args.world_size if self.is_deepspeed_enabled else None
            check_deepspeed_parts(Path(resume_from_checkpoint), num_processes)
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def _prepare_for_training(self, max_steps: int, train_dataloader: Any, resume_from_checkpoint: str | None) -> Any:
        if resume_from_checkpoint is None or not self._is_divided_otherwise(resume_from_checkpoint):
            return super()._prepare_for_training(max_steps, train_dataloader, resume_from_checkpoint)
        prepared = super()._prepare_for_training(max_steps, train_dataloader, None)
        self._divide_anew(resume_from_checkpoint)
        self._load_optimizer_and_scheduler(resume_from_checkpoint)
        return prepared

    def _is_divided_otherwise(self, checkpoint: str) -> bool:
        return self.is_deepspeed_enabled and is_divided_otherwise(Path(checkpoint), self.args.world_size)

    def _divide_anew(self, checkpoint: str) -> None:
        folder = Path(self._get_output_dir(None)) / UNFINISHED / "universal"
        load_in_universal_form(self.model_wrapped, Path(checkpoint), folder, self.accelerator)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the whole model; of a checkpoint in parts only what is beside its weights."""
        if not self.accelerator.is_fsdp2:
            super().save_model(output_dir, _internal_call)
            return
        folder = output_dir or str(self.args.output_dir)
        if _internal_call and self.saves_parts:
            self._save_beside_weights(Path(folder))
            return
        self._save(folder, state_dict=gathered_model(self.model))

    def _save_beside_weights(self, folder: Path) -> None:
        if not self.args.should_save:
            return
        model: Any = self.model
        described = model.peft_config.values() if hasattr(model, "peft_config") else [model.config]
        for config in described:
            config.save_pretrained(str(folder))
        if self.processing_class is not None:
            self.processing_class.save_pretrained(str(folder))

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self.accelerator.is_fsdp2 or self.saves_parts:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        optimizer: Any = self.optimizer
        scheduler: Any = self.lr_scheduler
        state = gathered(optimizer.state_dict())
        if self.args.should_save:
            torch.save(state, Path(output_dir) / OPTIMIZER_NAME)
            torch.save(scheduler.state_dict(), Path(output_dir) / SCHEDULER_NAME)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        checkpoint = Path(resume_from_checkpoint)
        with told_as_unusable(resume_from_checkpoint):
            check_metadata(checkpoint)
            if has_parts(checkpoint):
                load_model_parts(weights_by_saved_name(self.model), checkpoint)
                return
            if self.accelerator.is_fsdp2:
                copy_into(self.model, _whole_weights(checkpoint))
                return
        super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_best_model(self) -> None:
        best = str(self.state.best_model_checkpoint)
        if self.accelerator.is_fsdp2:  # transformers looks for pickled weights
            self._load_from_checkpoint(best)
        elif self._is_divided_otherwise(best):
            self._divide_anew(best)
        else:
            super()._load_best_model()

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        folder = Path(checkpoint)
        if not (has_parts(folder) or self.accelerator.is_fsdp2):
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        optimizer: Any = self.optimizer
        scheduler: Any = self.lr_scheduler
        with told_as_unusable(checkpoint):
            if has_parts(folder):
                load_optimizer_parts(self.model, optimizer, folder)
            elif (folder / OPTIMIZER_NAME).is_file():
                optimizer.load_state_dict(_divided_as(optimizer, folder / OPTIMIZER_NAME))
            if (folder / SCHEDULER_NAME).is_file():
                scheduler.load_state_dict(torch.load(folder / SCHEDULER_NAME, weights_only=True))


def _divided_as(optimizer: Any, file: Path) -> dict[str, Any]:
    """Read the whole state of an optimizer, and divide it as the weights of this one are."""
    state = torch.load(file, map_location="cpu", weights_only=True)
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    by_weight = {
        index: {name: divided(value, weights[index]) for name, value in each.items()}
        for index, each in state["state"].items()
    }
    return {**state, "state": by_weight}


def _whole_weights(checkpoint: Path) -> dict[str, Any]:
    """Read the safetensors of a checkpoint, in one file or several; on every process, which shares their pages."""
    names = [name for name in (WEIGHTS[0], *ADAPTER_WEIGHTS) if (checkpoint / name).is_file()]
    files = [checkpoint / name for name in names] or sorted(checkpoint.glob("model-*.safetensors"))
    return {name: weight for file in files for name, weight in load_file(file).items()}
