"""Keep out of checkpoints what does not belong there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINING_ARGS_NAME


class CheckpointCallback(TrainerCallback):
    """Remove the pickle of all arguments, access tokens among them; nothing reads it, and config.json tells more."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Remove it from the checkpoint that was just saved."""
        if state.is_world_process_zero:
            folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
            (folder / TRAINING_ARGS_NAME).unlink(missing_ok=True)
