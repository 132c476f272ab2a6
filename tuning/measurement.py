"""Measure the model of a trainer by what the configuration asks for, before training and after it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.config.schema import TuningConfig
from tuning.data.encoding import Encoding
from tuning.data.sources import Row
from tuning.errors import UserError
from tuning.evaluation.generation_metrics import GENERATION_METRICS, Prediction, scored
from tuning.evaluation.questions import Question, questions_of, rows_with_tests, spread
from tuning.evaluation.results import EvalResult, read_baseline, scores_of, write_baseline
from tuning.trackers.tracker import Tracker

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tuning.evaluation.scored_trainer import ScoredTrainer

logger = logging.getLogger(__name__)

_TWICE = ("eval_perplexity", "eval_mean_token_accuracy")
"""Scores that have another name, too: perplexity, eval_token_accuracy."""


def questions_for(
    config: TuningConfig,
    held_out_rows: Callable[[], Sequence[Row]],
    encoding: Encoding,
    tokenizer: PreTrainedTokenizerBase,
) -> list[Question]:
    """Choose the held-out rows that answers are generated for; none, and none are read, where no metric asks for it.

    Raises:
        UserError: the rows have no prompts, or no tests where a metric needs them; or lm-eval has no such task.
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
        tests = rows_with_tests(data_paths(config), config.data.dataset_split or "train", [row.place for row in chosen])

    def decode(ids: Sequence[int]) -> str:
        return str(tokenizer.decode(list(ids), skip_special_tokens=True))

    return questions_of(chosen, encoding, decode, tests)


def data_paths(config: TuningConfig) -> list[str]:
    """List all paths that rows are read from."""
    data = config.data
    named = [path for dataset in data.datasets or () for path in dataset.data_paths]
    return list(dict.fromkeys([*(data.training_data_path or ()), *(data.validation_data_path or ()), *named]))


def evaluate(
    trainer: ScoredTrainer, config: TuningConfig, questions: Sequence[Question], tracker: Tracker, folder: Path
) -> EvalResult:
    """Measure the final model, tell the tracker, and write the files of results; nothing where nothing is asked for."""
    metrics, predictions = measure(trainer, config, questions, _evaluation_at_the_last_step(trainer))
    baseline = read_baseline(folder) if config.evaluation.baseline else None
    if config.evaluation.baseline and baseline is None:
        logger.warning("evaluation.baseline: the run went on from a checkpoint, and no base was measured before it")
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
            write_baseline(folder, metrics)
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
    found, predictions = scored(predict(trainer, config, questions), config.evaluation.generation_metrics or [])
    kept = {name: value for name, value in metrics.items() if name not in _TWICE}
    return {**kept, **{f"eval_{name}": value for name, value in found.items()}}, predictions


def token_metrics(trainer: ScoredTrainer) -> dict[str, float]:
    """Run the evaluation over tokens, without a word to callbacks."""
    loop = trainer.evaluation_loop(trainer.get_eval_dataloader(), "Evaluation", prediction_loss_only=True)
    return dict(loop.metrics or {})


def predict(trainer: ScoredTrainer, config: TuningConfig, questions: Sequence[Question]) -> list[Prediction]:
    """Generate an answer to each question; processes that each have the whole model share the work."""
    if not questions:
        return []
    from accelerate.utils import gather_object

    from tuning.evaluation.generation import Decoding, generate

    section, args = config.evaluation, trainer.args
    longest = max(question.num_answer_tokens for question in questions)
    decoding = Decoding(
        section.max_new_tokens or longest + 1, section.generation_batch_size or args.per_device_eval_batch_size
    )
    # A sharded model needs all processes for each token, so all generate the same.
    shares = not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)
    own = slice(args.process_index, None, args.world_size) if shares else slice(None)
    asked = range(len(questions))[own]
    model = trainer.accelerator.unwrap_model(trainer.model)
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
    if trainer.is_world_process_zero():
        found = run_tasks(
            trainer.accelerator.unwrap_model(trainer.model),
            trainer.processing_class,
            section.lm_eval_tasks,
            section.lm_eval_include_path,
            section.lm_eval_limit,
            trainer.args.per_device_eval_batch_size,
        )
    trainer.accelerator.wait_for_everyone()
    return found


def _evaluation_at_the_last_step(trainer: ScoredTrainer) -> dict[str, float]:
    """Return what the last step's own evaluation measured, where the model is still the one that it measured."""
    last = next((entry for entry in reversed(trainer.state.log_history) if "eval_loss" in entry), {})
    is_final = last.get("step") == trainer.state.global_step and not trainer.args.load_best_model_at_end
    if not is_final or "eval_perplexity" not in last:
        return {}
    return {name: value for name, value in last.items() if name != "step"}


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Leave the random numbers as they were, so that a run trains the same with and without a baseline."""
    import torch

    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        yield
