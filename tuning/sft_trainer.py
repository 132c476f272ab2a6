"""The main job: `python -m tuning.sft_trainer run.json` completes a configuration, checks it, trains and evaluates."""

from __future__ import annotations

if __name__ == "__main__":  # a signal may come while all that follows is imported
    from tuning.interruption import exit_on_request

    exit_on_request()

import contextlib
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning import console
from tuning.acceleration.configuration import framework_of
from tuning.acceleration.divided_weights import is_divided
from tuning.architecture_check import check_architecture
from tuning.arguments import invocation_tokens, peft_config_of, sft_config
from tuning.checkpoints.model_folder import fill_whole
from tuning.checkpoints.room import check_room
from tuning.checkpoints.search import find_checkpoint, is_finished
from tuning.config.ir import IR
from tuning.config.schema import TuningConfig
from tuning.data.audit_report import audit_params, write_audit
from tuning.data.dataset_names import dataset_names
from tuning.data.datasets import load_datasets
from tuning.data.invocation import check_invocation
from tuning.data.packing import check_rows_apart
from tuning.data.skipped_rows import write_skipped
from tuning.ending import ended
from tuning.errors import EXIT_SUCCESS, Preempted, UserError
from tuning.interruption import StopRequest, stop_on_request, take_no_more_signals
from tuning.job import Job, load_config
from tuning.left_out import does_one_run, left_out
from tuning.measurement import evaluate, measure_before_training, questions_for
from tuning.model import load_model
from tuning.plain_adapters import keep_start, make_plain
from tuning.preparation import Preparation, max_length_of, prepare
from tuning.processes import check_agreement, part
from tuning.quantization import keep_adapters_in_float32, may_need_bitsandbytes
from tuning.run import complete, run_folder, start_run
from tuning.tokenizer import Additions
from tuning.trackers.tracker import Tracker
from tuning.world import check_world_size, rank, world_size
from tuning.wrapper import check_launch, check_made, check_wrapper

if TYPE_CHECKING:
    from transformers import TrainerCallback
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    from tuning.data.streamed import TokenStream
    from tuning.evaluation.scored_trainer import ScoredTrainer

logger = logging.getLogger("tuning")

MODEL_FOLDER = "model"


@dataclass(frozen=True)
class TrainResult:
    """What a run produced."""

    run_folder: Path
    model_folder: Path
    global_step: int
    metrics: dict[str, float]


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
        Preempted: a signal stopped the run: with a checkpoint, or before its first step.
    """
    job = job if isinstance(job, Job) else load_config(job)
    check_world_size(job.config, job.document)
    check_launch(job.config, job.document)
    with stop_on_request() as request:
        return _train(job, request, additional_callbacks, additional_metrics or {})


def train_by_command(job: Job) -> TrainResult:
    """Run a job as the commands do: what nothing in it needs is not imported, where the process does nothing else."""
    with left_out(*(["bitsandbytes"] if does_one_run() and not may_need_bitsandbytes(job.config) else [])):
        try:
            result = train(job)
        except Preempted:
            part()
            raise
        if does_one_run():
            take_no_more_signals()  # the run is over, and complete
        part()
        return result


def _train(
    job: Job,
    request: StopRequest,
    additional_callbacks: Sequence[TrainerCallback],
    additional_metrics: Mapping[str, float],
) -> TrainResult:
    config = job.config
    checkpoint = find_checkpoint(config)
    check_room(config, job.document)
    preparation = prepare(config)
    check_architecture(config)
    held_out_rows, encoding = preparation.prepared.held_out_rows, preparation.encodings.validation
    questions = questions_for(config, held_out_rows, encoding, preparation.tokenizer)
    with contextlib.ExitStack() as opened:
        with request.held():  # a tracker that is half there could not be told how the run ended
            goes_on = job.goes_on or checkpoint is not None
            entered = start_run(config, job.document, job.recommendations, resumed=goes_on)
            run = opened.enter_context(entered)
        tracker = run.tracker
        console.tell_start(preparation.prepared, checkpoint, config.data.streaming)
        record_data(config, preparation, tracker)
        trainer = build_trainer(config, job.document, preparation, tracker, request, additional_callbacks)
        request.raise_if_asked()
        request.waits = world_size() > 1  # all processes stop at the end of one step
        run.record_model()
        tracker.track(additional_metrics, stage="additional")
        measure_before_training(trainer, config, questions, run_folder(config))
        trained = fit(trainer, checkpoint, config)
        request.raise_if_stopped()
        request.waits = True  # until the model is saved whole
        model_folder = save_model(trainer, config, preparation.additions)
        with request.ending_at_once(_after_training(trainer, model_folder)):
            result = evaluate(trainer, config, questions, tracker, run_folder(config))
        metrics = {**trained, **result.metrics}
        run.record_results(trainer.state.global_step, metrics, model_folder)
        with request.ending_at_once(f"during the export; the model is saved in {model_folder}"):
            exports = _export(config, model_folder) if trainer.is_world_process_zero() else []
    if trainer.is_world_process_zero():
        history, scores = trainer.state.log_history, result.lines() if result.scores() else ()
        folder = run_folder(config)
        print(console.end_summary(job.recommendations, metrics, history, folder, model_folder, scores, exports))
        complete(folder)
    return TrainResult(run_folder(config), model_folder, trainer.state.global_step, metrics)


def _export(config: TuningConfig, model_folder: Path) -> list[Path]:
    """Write the exports that are asked for; returns their folders."""
    if not config.export.export_formats:
        return []
    from tuning.export.of_run import export_run

    return [made.folder for made in export_run(config, model_folder, run_folder(config))]


def record_data(config: TuningConfig, preparation: Preparation, tracker: Tracker) -> None:
    """Write what the audit found, and which rows were skipped, to the run folder; trackers get the audit, too."""
    if rank() == 0:
        write_skipped(preparation.prepared.skipped, run_folder(config))
    if preparation.audit is not None:
        tracker.set_params(audit_params(preparation.audit), name="audit")
        if rank() == 0:
            write_audit(preparation.audit, run_folder(config))


def build_trainer(
    config: TuningConfig,
    document: IR,
    preparation: Preparation,
    tracker: Tracker,
    request: StopRequest,
    callbacks: Sequence[TrainerCallback],
) -> ScoredTrainer:
    """Load the model, and give it to TRL's trainer with the tokens of the rows."""
    from tuning.evaluation.scored_trainer import ScoredTrainer  # the dear imports start here

    console.hide_progress_bars()
    started = time.monotonic()
    framework = framework_of(config)
    args = _checked_arguments(config, document)
    model = load_model(config, preparation.tokenizer, preparation.additions, framework)
    tracker.track(time.monotonic() - started, "model_load_time", stage="additional")
    peft_config = peft_config_of(config, model, preparation.additions.new_token_ids, preparation.tokenizer)
    model, (peft_config,) = framework.augmentation(model, args, modifiable_args=(peft_config,))
    console.tell_plugins(framework.active_plugins)
    tracker.set_params(dict(framework.active_plugins), name="acceleration")
    console.tell_devices(args, model)
    stream, mixes = _listed_stream(config, preparation), "OnlineMixingPlugin" in framework.active_plugins
    names = dataset_names(preparation.prepared, config.data) if mixes and stream is None else None
    splits = load_datasets(preparation.prepared, args, max_length_of(config), stream, names)
    if config.peft.peft_method == "alora":
        check_invocation(splits.train, invocation_tokens(config.peft, preparation.tokenizer))
    try:
        trainer = ScoredTrainer(
            model,
            args,
            train_dataset=splits.train,
            eval_dataset=splits.validation,
            processing_class=preparation.tokenizer,
            peft_config=peft_config,
            callbacks=_callbacks(config, tracker, request, callbacks),
            wants_f1=config.evaluation.token_f1,
        )
    except (ValueError, ImportError) as error:
        raise UserError(f"TRL refuses this configuration: {error}") from error
    check_made(config, trainer.accelerator.distributed_type.name)
    keep_adapters_in_float32(trainer.model, bf16=bool(args.bf16))
    if rank() == 0:
        keep_start(trainer.model, run_folder(config))
    if args.padding_free and model.device.type == args.device.type and not is_divided(model):
        check_rows_apart(model)
    for callback in framework.get_callbacks_and_ready_for_train(trainer.model, trainer.accelerator):
        trainer.callback_handler.callbacks.insert(0, callback)  # before trackers, which get what it adds to logs
    return trainer


def _checked_arguments(config: TuningConfig, document: IR) -> SFTConfig:
    """Make TRL's arguments, by which the processes find each other, and look what came of that."""
    args = sft_config(config)
    check_wrapper(config, document, args)
    check_agreement(document)
    return args


def _listed_stream(config: TuningConfig, preparation: Preparation) -> TokenStream | None:
    """Return what is streamed; of all processes the first lists the rows that are skipped."""
    if preparation.stream is None or rank() != 0:
        return preparation.stream
    return preparation.stream.listing_skipped(preparation.prepared.skipped, run_folder(config))


def fit(trainer: SFTTrainer, checkpoint: str | None, config: TuningConfig) -> dict[str, float]:
    """Train, or take up the last step of a run that is finished; returns the training's metrics."""
    from tuning.control.state import stopped_by

    args = trainer.args
    rule = None if checkpoint is None else stopped_by(config, checkpoint)
    if checkpoint is None or not (rule or is_finished(checkpoint, args.max_steps, args.num_train_epochs)):
        return trainer.train(resume_from_checkpoint=checkpoint).metrics
    from transformers import TrainerState
    from transformers.trainer import TRAINER_STATE_NAME

    why = f"a rule has ended it ({rule})" if rule else "the run is finished"
    logger.info("%s, and %s is its last step: nothing is left to train", why, checkpoint)
    trainer.state = TrainerState.load_from_json(str(Path(checkpoint) / TRAINER_STATE_NAME))
    best = trainer.state.best_model_checkpoint if args.load_best_model_at_end else None
    trainer._load_from_checkpoint(_beside(checkpoint, best) if best else checkpoint)
    return {}


def _beside(checkpoint: str, best: str) -> str:
    """Find the best checkpoint where the last one is now: the run may have been moved since its path was noted."""
    folder = Path(checkpoint).parent / Path(best).name
    if not folder.is_dir():
        raise UserError(
            f"training.load_best_model_at_end: the best checkpoint, {folder}, is gone; put it back, "
            "or set load_best_model_at_end=false to take the last one"
        )
    return str(folder)


def save_model(trainer: SFTTrainer, config: TuningConfig, additions: Additions) -> Path:
    """Save the model or its adapter, the tokenizer, and what was added to it; returns the folder."""
    given = config.training.save_model_dir
    folder = Path(given).expanduser() if given else run_folder(config) / MODEL_FOLDER
    with fill_whole(folder, trainer.accelerator) as draft:
        trainer.save_model(str(draft))
        if trainer.is_world_process_zero():
            make_plain(draft, run_folder(config))
            additions.save(draft)
            (draft / "training_args.bin").unlink(missing_ok=True)  # a pickle of all arguments; config.json tells them
    logger.info("the model is saved in %s", folder)
    return folder


def _after_training(trainer: SFTTrainer, model_folder: Path) -> str:
    """Say how a run that is stopped once its model is saved can be ended."""
    checkpoint = Path(str(trainer.args.output_dir)) / f"checkpoint-{trainer.state.global_step}"
    then = "the same command goes on" if checkpoint.is_dir() else "there is no checkpoint: tune evaluate measures it"
    return f"during the evaluation; the model is saved in {model_folder}, and {then}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0, 1 for the user's input, 75 stopped on request, 203 internal fault."""
    argv = sys.argv[1:] if argv is None else argv
    if {"-h", "--help"} & set(argv):
        return _help()
    return ended(lambda: train_by_command(load_config(argv)))


def _help() -> int:
    from tuning.config.help import help_text

    try:
        print(help_text(), flush=True)
    except BrokenPipeError:  # whoever reads, such as `head`, has had enough; nothing may be written at the exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return EXIT_SUCCESS


def _callbacks(
    config: TuningConfig, tracker: Tracker, request: StopRequest, given: Sequence[TrainerCallback]
) -> list[TrainerCallback]:
    """List what follows the training; what stops it comes last, and sees what the others have asked for."""
    from tuning.control.callback import control_callbacks
    from tuning.stop_callback import StopCallback

    tracking = tracker.get_hf_callback()
    tracked = [] if tracking is None else [tracking]
    return [*tracked, *control_callbacks(config, tracker), *given, StopCallback(request)]


if __name__ == "__main__":
    sys.exit(main())
