"""TRL's trainer, whose checkpoints appear under their names once they are whole."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers.trainer import TRAINER_STATE_NAME, TRAINING_ARGS_NAME
from transformers.trainer_callback import TrainerState
from transformers.trainer_utils import rotate_checkpoints
from trl.trainer.sft_trainer import SFTTrainer

from tuning.checkpoints.marker import mark_whole, sync
from tuning.checkpoints.search import UNFINISHED
from tuning.checkpoints.unlogged import UnloggedCallback
from tuning.errors import TuningError, UserError, first_line
from tuning.full_disk import disk_full_error

_LOST = re.compile("Connection (closed|reset) by peer")
"""Source: gloo's words for a process that is gone."""


class CheckpointedTrainer(SFTTrainer):
    """Writes a checkpoint into a folder beside the others, marks it whole, and gives it its name in one step.

    All processes write into the same folder; where each node has a disk of its own, one of each node names it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Make TRL's trainer."""
        self.is_saving = False
        super().__init__(*args, **kwargs)
        self.unlogged = UnloggedCallback(self)
        self.add_callback(self.unlogged)

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Train, as transformers does, unless the state in the checkpoint is none of this release's."""
        if isinstance(resume_from_checkpoint, str):
            with told_as_unusable(resume_from_checkpoint):
                TrainerState.load_from_json(str(Path(resume_from_checkpoint) / TRAINER_STATE_NAME))
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Write none with each checkpoint: an export has a card, and its numbers are those of the run's records."""

    def _get_output_dir(self, trial: Any) -> str:
        """Return the folder for checkpoints: another one while one is written."""
        folder = super()._get_output_dir(trial)
        return str(Path(folder) / UNFINISHED) if self.is_saving else folder

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint; where that fails, nothing of it is left.

        Raises:
            DiskFullError: there is no room for it.
        """
        folder, name = Path(self._get_output_dir(trial)), f"checkpoint-{self.state.global_step}"
        draft = folder / UNFINISHED / name
        self.unlogged.put_into_state()
        try:
            self._write(model, trial, folder / name)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                (draft / TRAINING_ARGS_NAME).unlink(missing_ok=True)  # a pickle; config.json tells as much
                mark_whole(draft)
        except Exception as error:
            if self.args.should_save:
                shutil.rmtree(draft, ignore_errors=True)
            then = "it goes on from the checkpoint before"
            if full := disk_full_error(error, f"the checkpoint of step {self.state.global_step}", folder, then):
                raise full from error
            raise
        if self.args.should_save:
            put_in_place(draft, folder / name)
            rotate_checkpoints(
                str(folder), self.args.save_total_limit, self.state.best_model_checkpoint, use_mtime=True
            )
        self.accelerator.wait_for_everyone()

    def _write(self, model: Any, trial: Any, target: Path) -> None:
        self.is_saving = True
        try:
            super()._save_checkpoint(model, trial)
        finally:
            self.is_saving = False
        if self.state.best_global_step == self.state.global_step:  # noted is where it was written
            self.state.best_model_checkpoint = str(target)
            if self.args.should_save:
                self.state.save_to_json(str(target.parent / UNFINISHED / target.name / TRAINER_STATE_NAME))

    def _determine_best_metric(self, metrics: Any, trial: Any) -> bool:
        """Let a checkpoint be saved that somebody asked for, whatever its metrics are."""
        was_asked_for = self.control.should_save
        return super()._determine_best_metric(metrics, trial) or was_asked_for

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        with told_as_unusable(resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        with told_as_unusable(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        with told_as_unusable(checkpoint):
            super()._load_rng_state(checkpoint)


@contextlib.contextmanager
def told_as_unusable(checkpoint: str | None) -> Iterator[None]:
    """Tell of a checkpoint that cannot be loaded; transformers loads no pickle that could run code.

    Raises:
        UserError: names the checkpoint, and what is wrong with it.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, TuningError):
        raise
    except Exception as error:  # of the operating system, safetensors, torch, its archives, transformers and PEFT
        if _has_lost_a_process(error):
            raise
        raise _unusable(checkpoint, error) from error


def _has_lost_a_process(error: Exception) -> bool:
    """Tell whether another process died while all were loading, which says nothing of the checkpoint."""
    return isinstance(error, torch.distributed.DistError) or bool(_LOST.search(str(error)))


def _unusable(checkpoint: str | None, error: Exception) -> UserError:
    reason = first_line(error) or type(error).__name__
    how = "Take another with resume_from_checkpoint, or start anew with resume_from_checkpoint=false"
    return UserError(f"{checkpoint}: the checkpoint cannot be gone on from: {reason}. {how}.")


def put_in_place(draft: Path, target: Path) -> None:
    """Give a checkpoint its name; one of the same step that is there already makes room for it."""
    former = draft.with_name(f"former-{draft.name}")
    if target.exists():
        shutil.rmtree(former, ignore_errors=True)
        target.rename(former)
    draft.rename(target)
    sync(target.parent)
    shutil.rmtree(former, ignore_errors=True)
    with contextlib.suppress(OSError):
        draft.parent.rmdir()
