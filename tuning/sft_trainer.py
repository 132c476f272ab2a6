"""The main job: `python -m tuning.sft_trainer run.json` completes a configuration, checks it, trains and evaluates."""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning import console
from tuning.arguments import peft_config_of, sft_config
from tuning.config.building import build_config, complete, with_checked_values
from tuning.config.ir import IR
from tuning.config.loading import load_ir, load_mapping
from tuning.config.rules import held_out_rows
from tuning.config.schema import TuningConfig
from tuning.data.datasets import Splits, is_supervised, load_datasets
from tuning.data.rows import Rows, load_rows
from tuning.data.sources import missing_sources
from tuning.errors import EXIT_INTERNAL_ERROR, EXIT_SUCCESS, DataError, Preempted, Problem, UserError
from tuning.interruption import StopRequest, stop_on_request
from tuning.model import STATE_FILE, find_checkpoint, is_finished, load_model, seed_of, unusable_model
from tuning.quantization import keep_adapters_in_float32, unusable_quantization
from tuning.recommender.action import Recommendation
from tuning.recommender.engine import recommend
from tuning.run import first_line, run_folder, start_run, write_json
from tuning.tokenizer import Additions, load_tokenizer
from tuning.trackers.tracker import Tracker
from tuning.trackers.tracker_factory import check_trackers
from tuning.world import check_world_size

if TYPE_CHECKING:
    from transformers import TrainerCallback
    from trl.trainer.sft_trainer import SFTTrainer

logger = logging.getLogger("tuning")

EVALUATION_FILE = "eval.json"
MODEL_FOLDER = "model"
_LARGEST_EXPONENT = 700.0
"""exp of it is still a finite float."""


@dataclass(frozen=True)
class Job:
    """A run that is decided and not started: its configuration, the same as a document, and what was recommended."""

    config: TuningConfig
    document: IR
    recommendations: tuple[Recommendation, ...]


@dataclass(frozen=True)
class TrainResult:
    """What a run produced."""

    run_folder: Path
    model_folder: Path
    global_step: int
    metrics: dict[str, float]


def load_config(source: Sequence[str] | Mapping[str, Any] = ()) -> Job:
    """Read, complete and check the configuration that a command line or a mapping gives.

    Raises:
        ConfigError: with every problem in it.
    """
    loaded = load_mapping(source) if isinstance(source, Mapping) else load_ir(source)
    console.tell_notices(loaded.notices)
    checks = (missing_sources, unusable_model, _tracker_problems)
    given = build_config(loaded.ir, checks, loaded.problems)
    ir = with_checked_values(loaded.ir, given)
    recommendations: list[Recommendation] = []
    if given.recommender.recommend:
        ir, recommendations = recommend(ir)
    config = build_config(ir, (held_out_rows, unusable_quantization))
    return Job(config, complete(ir, config), tuple(recommendations))


def train(
    job: Job | Mapping[str, Any],
    additional_callbacks: Sequence[TrainerCallback] = (),
    additional_metrics: Mapping[str, float] | None = None,
) -> TrainResult:
    """Run a job, as the command does; a mapping is a configuration to load first.

    `additional_callbacks` join the trainer's; `additional_metrics` are tracked at the start of the run.

    Raises:
        UserError: the configuration, the data or the model cannot be used. Nothing was written where that can be told
            before torch is imported: the configuration, the rows, the files of the model.
        Preempted: a signal stopped the run, with a checkpoint.
    """
    job = job if isinstance(job, Job) else load_config(job)
    config = job.config
    check_world_size(config, job.document)
    checkpoint = find_checkpoint(config)
    rows = load_rows(config.data, seed_of(config))
    resumed = checkpoint is not None
    with stop_on_request() as request, start_run(config, job.document, job.recommendations, resumed) as run:
        tracker = run.tracker
        console.tell_start(rows, checkpoint)
        trainer, additions = build_trainer(config, rows, tracker, request, additional_callbacks)
        run.record_model()
        tracker.track(additional_metrics or {}, stage="additional")
        trained = fit(trainer, checkpoint)
        request.raise_if_stopped()
        metrics = {**trained, **evaluate(trainer, tracker)}
        model_folder = save_model(trainer, config, additions)
        tracker.set_params({"model_folder": str(model_folder.resolve()), **metrics}, name="results")
    if trainer.is_world_process_zero():
        history = trainer.state.log_history
        print(console.end_summary(job.recommendations, metrics, history, run_folder(config), model_folder))
    return TrainResult(run_folder(config), model_folder, trainer.state.global_step, metrics)


def check(config: TuningConfig) -> None:
    """Look at what a run would look at before it imports torch, and change nothing.

    Raises:
        UserError: the run would refuse the checkpoint or the rows.
    """
    find_checkpoint(config)
    load_rows(config.data, seed_of(config))


def build_trainer(
    config: TuningConfig, rows: Rows, tracker: Tracker, request: StopRequest, callbacks: Sequence[TrainerCallback]
) -> tuple[SFTTrainer, Additions]:
    """Load the tokenizer and the model, and give them to TRL's trainer; also returns what the tokenizer was given."""
    from jinja2 import TemplateError
    from trl.trainer.sft_trainer import SFTTrainer  # the dear imports start here

    from tuning.checkpoint_callback import CheckpointCallback
    from tuning.stop_callback import StopCallback

    console.hide_progress_bars()
    tokenizer, additions = load_tokenizer(config)
    splits = load_datasets(rows, tokenizer)
    started = time.monotonic()
    model = load_model(config, tokenizer, additions)
    tracker.track(time.monotonic() - started, "model_load_time", stage="additional")
    args = sft_config(config, splits.assistant_only_loss)
    console.tell_devices(args, model)
    try:
        trainer = SFTTrainer(
            model,
            args,
            train_dataset=splits.train,
            eval_dataset=splits.validation,
            processing_class=tokenizer,
            peft_config=peft_config_of(config, model, additions.new_token_ids),
            callbacks=[*_callback_of(tracker), CheckpointCallback(), StopCallback(request), *callbacks],
        )
    except (ValueError, ImportError, TemplateError) as error:
        raise UserError(f"TRL refuses this configuration: {error}") from error
    keep_adapters_in_float32(trainer.model, bf16=bool(args.bf16))
    check_rows_left(trainer, splits)
    return trainer, additions


def fit(trainer: SFTTrainer, checkpoint: str | None) -> dict[str, float]:
    """Train, or take up the last step of a run that is finished; returns the training's metrics."""
    args = trainer.args
    if checkpoint is None or not is_finished(checkpoint, args.max_steps, args.num_train_epochs):
        return trainer.train(resume_from_checkpoint=checkpoint).metrics
    from transformers import TrainerState

    logger.info("the run is finished, and %s is its last step: nothing is left to train", checkpoint)
    trainer.state = TrainerState.load_from_json(str(Path(checkpoint) / STATE_FILE))
    best = trainer.state.best_model_checkpoint if args.load_best_model_at_end else None
    trainer._load_from_checkpoint(best or checkpoint)
    return {}


def evaluate(trainer: SFTTrainer, tracker: Tracker) -> dict[str, float]:
    """Measure the final model on the held-out rows and write `eval.json`; nothing without such rows."""
    if trainer.eval_dataset is None:
        return {}
    metrics = _evaluation_at_the_last_step(trainer) or trainer.evaluate()
    metrics["perplexity"] = math.exp(min(metrics["eval_loss"], _LARGEST_EXPONENT))
    tracker.track({name: metrics[name] for name in ("eval_loss", "perplexity")}, stage="final")
    if trainer.is_world_process_zero():
        write_json(Path(str(trainer.args.output_dir)) / EVALUATION_FILE, metrics)
    return metrics


def _evaluation_at_the_last_step(trainer: SFTTrainer) -> dict[str, float]:
    """Return what the last step's own evaluation measured, where the model is still the one that it measured."""
    last = next((entry for entry in reversed(trainer.state.log_history) if "eval_loss" in entry), {})
    is_final = last.get("step") == trainer.state.global_step and not trainer.args.load_best_model_at_end
    return {name: value for name, value in last.items() if name != "step"} if is_final else {}


def save_model(trainer: SFTTrainer, config: TuningConfig, additions: Additions) -> Path:
    """Save the model or its adapter, the tokenizer, and what was added to it; returns the folder."""
    given = config.training.save_model_dir
    folder = Path(given).expanduser() if given else run_folder(config) / MODEL_FOLDER
    trainer.save_model(str(folder))
    if trainer.is_world_process_zero():
        additions.save(folder)
        (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle of all arguments; config.json tells them
    return folder


def check_rows_left(trainer: SFTTrainer, splits: Splits) -> None:
    """Say how many rows have no response left after truncation; TRL leaves them out without a word.

    Raises:
        DataError: no row is left.
    """
    arguments: Any = trainer.args
    prepared: dict[str, Any] = {"train": trainer.train_dataset, "eval": trainer.eval_dataset}
    for name, given in (("train", splits.train), ("eval", splits.validation)):
        if given is None:
            continue
        if arguments.packing:
            gone = 0 if is_supervised(prepared[name]) else len(given)
        else:
            gone = len(given) - len(prepared[name])
        told = f"{name}: {gone} of {len(given)} rows have no response within max_length={arguments.max_length}"
        if gone == len(given):
            raise DataError(f"{told}; raise it")
        if gone:
            logger.warning("%s; they are left out", told)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0, 1 for the user's input, 75 stopped on request, 203 internal fault."""
    argv = sys.argv[1:] if argv is None else argv
    if {"-h", "--help"} & set(argv):
        from tuning.config.help import help_text

        print(help_text())
        return EXIT_SUCCESS
    console.set_up_logging()
    try:
        train(load_config(argv))
    except (UserError, Preempted) as error:
        return console.end(error.exit_code, str(error))
    except Exception as error:
        logger.exception("internal fault")
        return console.end(EXIT_INTERNAL_ERROR, f"{type(error).__name__}: {first_line(error)}")
    return EXIT_SUCCESS


def _tracker_problems(config: TuningConfig) -> list[Problem]:
    return check_trackers(config.tracking.model_dump())


def _callback_of(tracker: Tracker) -> list[TrainerCallback]:
    callback = tracker.get_hf_callback()
    return [] if callback is None else [callback]


if __name__ == "__main__":
    sys.exit(main())
