"""Measure the model of a trainer by what the configuration asks for, before training and after it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.config.schema import TuningConfig
from tuning.data.data_config import resolved
from tuning.data.encoding import Encoding
from tuning.data.run_datasets import datasets_of, validation_dataset
from tuning.data.sources import Row
from tuning.errors import UserError
from tuning.evaluation.answer_length import check_answer_length, max_new_tokens_for, positions_of
from tuning.evaluation.baseline import fingerprint_of, read_baseline, write_baseline
from tuning.evaluation.generation_metrics import GENERATION_METRICS, Prediction, scored
from tuning.evaluation.questions import Question, questions_of, rows_with_tests, spread
from tuning.evaluation.results import EvalResult, scores_of
from tuning.processes import others_wait
from tuning.trackers.tracker import Tracker

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tuning.evaluation.scored_trainer import ScoredTrainer

logger = logging.getLogger(__name__)

_LEFT_OUT = ("eval_perplexity", "eval_mean_token_accuracy", "eval_model_preparation_time")
"""Scores that have another name, too (perplexity, eval_token_accuracy), and a time that says nothing of the model."""


def questions_for(
    config: TuningConfig,
    held_out_rows: Callable[[], Sequence[Row]],
    encoding: Encoding,
    tokenizer: PreTrainedTokenizerBase,
) -> list[Question]:
    """Choose the held-out rows that answers are generated for; none, and none are read, where no metric asks for it.

    Raises:
        UserError: the rows have no prompts, or no tests where a metric needs them; the model has no room for such
            answers; or lm-eval has no such task.
    """
    section = config.evaluation
    if section.lm_eval_tasks:
        from tuning.evaluation.lm_eval_tasks import check_tasks

        check_tasks(section.lm_eval_tasks, section.lm_eval_include_path)
    if not section.generation_metrics:
        return []
    chosen = spread(held_out_rows(), section.generation_rows)
    tests = {}
    if any(GENERATION_METRICS.load(name).runs_code for name in section.generation_metrics):
        tests = rows_with_tests(_sources(config), [row.place for row in chosen])

    def decode(ids: Sequence[int]) -> str:
        return str(tokenizer.decode(list(ids), skip_special_tokens=True))

    questions = questions_of(chosen, encoding, decode, tests)
    check_answer_length(questions, section.max_new_tokens, config.model)
    return questions


def _sources(config: TuningConfig) -> list[tuple[tuple[str, ...], str | None]]:
    """List the paths that rows are read from, with the split of each."""
    data = resolved(config.data)
    held_out = validation_dataset(data)
    datasets = [*datasets_of(data), *([held_out] if held_out is not None else [])]
    return list(dict.fromkeys((tuple(dataset.data_paths), dataset.dataset_split) for dataset in datasets))


def evaluate(
    trainer: ScoredTrainer, config: TuningConfig, questions: Sequence[Question], tracker: Tracker, folder: Path
) -> EvalResult:
    """Measure the final model, tell the tracker, and write the files of results; nothing where nothing is asked for."""
    metrics, predictions = measure(trainer, config, questions, _evaluation_at_the_last_step(trainer))
    baseline = None
    if config.evaluation.baseline:
        baseline = read_baseline(folder, fingerprint_of(trainer.eval_dataset, questions, config.evaluation))
        if baseline is None:
            told = "the run went on from a checkpoint, and no base was measured in this way on these rows before it"
            logger.warning("evaluation.baseline: %s", told)
    result = EvalResult(metrics, predictions, baseline, lm_eval_results(trainer, config))
    if not result.to_dict():
        return result
    tracker.track(result.scores(), stage="final")
    if baseline is not None:
        tracker.track(baseline, stage="baseline")
        tracker.track(result.difference(), stage="difference")
    if trainer.is_world_process_zero():
        for file in result.write(folder, config.evaluation.eval_save_format):
            tracker.log_artifact(file)
    return result


def measure_before_training(
    trainer: ScoredTrainer, config: TuningConfig, questions: Sequence[Question], folder: Path
) -> None:
    """Have the base measured where that is asked for, when training begins and nothing is trained yet."""
    if not config.evaluation.baseline or trainer.eval_dataset is None:
        return
    from tuning.baseline_callback import BaselineCallback

    def keep() -> None:
        with _same_random_numbers():
            metrics, _ = measure(trainer, config, questions)
        if trainer.is_world_process_zero():
            write_baseline(folder, metrics, fingerprint_of(trainer.eval_dataset, questions, config.evaluation))
        logger.info(
            "before training: %s", ", ".join(f"{name} {value:.4g}" for name, value in scores_of(metrics).items())
        )

    trainer.add_callback(BaselineCallback(keep))


def measure(
    trainer: ScoredTrainer, config: TuningConfig, questions: Sequence[Question], known: dict[str, float] | None = None
) -> tuple[dict[str, float], list[Prediction]]:
    """Measure the model as it is: over tokens, unless that is known, and by the answers it generates."""
    if trainer.eval_dataset is None:
        return {}, []
    metrics = known or token_metrics(trainer)
    metrics = {**metrics, "perplexity": metrics["eval_perplexity"]}
    found, predictions = _scored_once(trainer, predict(trainer, config, questions), config)
    kept = {name: value for name, value in metrics.items() if name not in _LEFT_OUT}
    return {**kept, **{f"eval_{name}": value for name, value in found.items()}}, predictions


def token_metrics(trainer: ScoredTrainer) -> dict[str, float]:
    """Run the evaluation over tokens, without a word to callbacks."""
    loop = trainer.evaluation_loop(trainer.get_eval_dataloader(), "Evaluation", prediction_loss_only=True)
    return dict(loop.metrics or {})


def _scored_once(
    trainer: ScoredTrainer, predictions: list[Prediction], config: TuningConfig
) -> tuple[dict[str, float], list[Prediction]]:
    """Score on the first process, which writes the predictions and tells the others the metrics."""
    if not predictions:
        return {}, []
    from accelerate.utils import broadcast_object_list

    metrics: dict[str, float] = {}
    with others_wait():
        if trainer.is_world_process_zero():
            metrics, predictions = scored(predictions, config.evaluation.generation_metrics or [])
    told: list[Any] = [metrics]
    if trainer.args.world_size > 1:
        broadcast_object_list(told)
    return told[0], predictions


def predict(trainer: ScoredTrainer, config: TuningConfig, questions: Sequence[Question]) -> list[Prediction]:
    """Generate an answer to each question; processes that each have the whole model share the work."""
    if not questions:
        return []
    from accelerate.utils import gather_object

    from tuning.evaluation.generation import Decoding, generate

    section, args = config.evaluation, trainer.args
    # A sharded model needs all processes for each token, so all generate the same.
    shares = not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)
    own = slice(args.process_index, None, args.world_size) if shares else slice(None)
    asked = range(len(questions))[own]
    model = trainer.accelerator.unwrap_model(trainer.model)
    max_new_tokens = section.max_new_tokens or max_new_tokens_for(questions, positions_of(model.config))
    decoding = Decoding(max_new_tokens, section.generation_batch_size or args.per_device_eval_batch_size)
    tokenizer: Any = trainer.processing_class
    prompts = [questions[index].prompt_ids for index in asked]
    with trainer.accelerator.autocast():
        texts = generate(model, tokenizer, prompts, decoding)
    answers = [(index, found[0]) for index, found in zip(asked, texts, strict=True)]
    if shares and args.world_size > 1:
        answers = gather_object(answers)
    return [Prediction(questions[index], text) for index, text in sorted(answers)]


def lm_eval_results(trainer: ScoredTrainer, config: TuningConfig) -> dict[str, Any]:
    section = config.evaluation
    if not section.lm_eval_tasks:
        return {}
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
        raise UserError("evaluation.lm_eval_tasks: a model that is sharded over processes cannot be given to lm-eval")
    from tuning.evaluation.lm_eval_tasks import run_tasks

    found: dict[str, Any] = {}
    with others_wait():
        if trainer.is_world_process_zero():
            found = run_tasks(
                trainer.accelerator.unwrap_model(trainer.model),
                trainer.processing_class,
                section.lm_eval_tasks,
                section.lm_eval_include_path,
                section.lm_eval_limit,
                trainer.args.per_device_eval_batch_size,
            )
    return found


def _evaluation_at_the_last_step(trainer: ScoredTrainer) -> dict[str, float]:
    """Return what this process measured after the last step, where the model is still the one that it measured."""
    step, metrics = trainer.measured or (None, {})
    is_final = step == trainer.state.global_step and not trainer.args.load_best_model_at_end
    return metrics if is_final else {}


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Leave the random numbers as they were, so that a run trains the same with and without a baseline."""
    import torch

    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        yield
