"""DeepSpeed's universal form of a checkpoint of ZeRO-3, which any number of processes takes up."""

from __future__ import annotations

import contextlib
import copy
import importlib
import io
import logging
import shutil
from argparse import Namespace
from pathlib import Path
from typing import Any

from tuning.checkpoints.trainer import told_as_unusable
from tuning.errors import UserError
from tuning.full_disk import disk_full_error
from tuning.processes import others_wait
from tuning.sharding.deepspeed_parts import parts_folder

logger = logging.getLogger(__name__)

_LOADED = ("params", "lr")
"""Of a group of weights, what is as DeepSpeed has loaded it: the schedule has moved on."""


def load_in_universal_form(engine: Any, checkpoint: Path, folder: Path, accelerator: Any) -> None:
    """Load weights and optimizer of a checkpoint into an engine of another number of processes than has written it.

    The first process writes the universal form into a folder, which goes away when all processes have loaded it.
    DeepSpeed reads pickles freely in both steps, as it does whenever it goes on.

    Raises:
        UserError: DeepSpeed cannot read it, or cannot divide an optimizer of this kind.
        DiskFullError: there is no room for the universal form.
    """
    try:
        with others_wait():
            if accelerator.is_main_process:
                told = "%s was written by another number of processes: its optimizer is divided anew for %d"
                logger.info(told, checkpoint, accelerator.num_processes)
                write_universal_form(checkpoint, folder)
        with told_as_unusable(str(checkpoint)):
            _load(engine, folder)
        accelerator.wait_for_everyone()
    finally:
        if accelerator.is_main_process:
            shutil.rmtree(folder, ignore_errors=True)
            with contextlib.suppress(OSError):
                folder.parent.rmdir()


def write_universal_form(checkpoint: Path, folder: Path) -> None:
    """Write the universal form of a checkpoint into a folder of its own.

    Raises:
        UserError: DeepSpeed cannot read the checkpoint, or cannot divide an optimizer of this kind.
        DiskFullError: there is no room for the universal form.
    """
    converter = importlib.import_module("deepspeed.checkpoint.ds_to_universal")
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed meanwhile
    parts = parts_folder(checkpoint)
    options = Namespace(input_folder=str(parts), output_folder=str(folder / parts.name), strict=True)
    options.num_extract_workers = options.num_merge_workers = 1
    options.keep_temp_folder = options.inject_missing_state = False
    with told_as_unusable(str(checkpoint)):
        try:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                converter.main(options)
        except KeyError as error:
            told = f"the optimizer has no {error}, and DeepSpeed divides only Adam and AdamW anew"
            raise UserError(f"{checkpoint}: {told}. Go on with as many processes as before") from error
        except Exception as error:
            what, then = "the optimizer for another number of processes", "it goes on from the same checkpoint"
            if full := disk_full_error(error, what, folder.parent, then):
                raise full from error
            raise


def _load(engine: Any, folder: Path) -> None:
    """Let DeepSpeed load the universal form, and undo what it makes equal.

    It gives every group of weights the settings of the first one, such as weight decay, and all of them one count of
    steps, which each then raises. Source: DeepSpeed 0.19, load_hp_checkpoint_state_from_checkpoint_dir_stage3.
    """
    optimizer = engine.optimizer
    own = [{name: value for name, value in group.items() if name not in _LOADED} for group in optimizer.param_groups]
    former = engine._config.load_universal_checkpoint
    engine._config.load_universal_checkpoint = True
    try:
        engine.load_checkpoint(str(folder))
    finally:
        engine._config.load_universal_checkpoint = former
    for group, values in zip(optimizer.param_groups, own, strict=True):
        group.update(values)
    for state in optimizer.state.values():
        state["step"] = copy.deepcopy(state["step"])
