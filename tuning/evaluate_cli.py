"""`tune evaluate`: measure a saved model or adapter on held-out rows."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuning.config.decided import seed_of
from tuning.config.loading import load_ir
from tuning.config.schema import TuningConfig
from tuning.data.held_out import NUM_LEFT_OUT, NUM_ROWS, PARTED, held_out_tokens, load_held_out
from tuning.errors import EXIT_SUCCESS, ConfigError, UserError
from tuning.evaluation.results import EvalResult
from tuning.recommender.cli import exit_code_of
from tuning.recommender.own_flags import take_flags

if TYPE_CHECKING:
    from tuning.evaluation.questions import Question
    from tuning.evaluation.scored_trainer import ScoredTrainer
    from tuning.saved_model import SavedModel

FLAGS = {"--output-dir": "a folder", "--base": "a folder or Hub id"}
USAGE = """usage: tune evaluate MODEL [--config FILE] [key=value …] [--key value …] [--output-dir DIR] [--base MODEL]

Measure a saved model, or an adapter with the base that it names, on the held-out rows of a configuration: loss,
perplexity, token accuracy and F1, and what the section evaluation asks for. A run's own config.json is a configuration;
its validation_fraction and seed hold out the same rows as the run did. Nothing is trained.

  --output-dir DIR  write eval.json (or eval.csv) and predictions.jsonl to this folder
  --base MODEL      the base of an adapter, where it is not where adapter_config.json says

baseline=true measures the base, too: an adapter's, or of a whole model the configuration's model_name_or_path.

Exit codes: 0; 1 for something in the input that you can mend; 203 for a fault of ours.
"""
_FIXED = {
    "peft": {"peft_method": "none"},
    "training": {
        "packing": False,
        "eval_packing": False,
        "padding_free": False,
        "eval_strategy": "no",
        "eval_on_start": False,
        "load_best_model_at_end": False,
        "save_strategy": "no",
        "resume_from_checkpoint": False,
        "gradient_checkpointing": False,
        "activation_offloading": False,
        "use_liger_kernel": False,
        "torch_compile": False,
        "push_to_hub": False,
        "fsdp": None,
        "fsdp_config": None,
        "deepspeed": None,
        "parallelism_config": None,
    },
    "accelerate": {},
    "compute": {},
    "tracking": {},
    "quantization": {},
    "acceleration": {"use_acceleration": False},
    "export": {},
}
"""What an evaluation does in one way: each row by itself, and nothing of training."""


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code: 0, 1 the user's input, 203 fault."""
    if not argv or {"-h", "--help"} & set(argv):
        print(USAGE)
        return EXIT_SUCCESS
    return exit_code_of(_evaluate, argv)


def _evaluate(argv: Sequence[str]) -> int:
    from tuning import console

    words, given = take_flags(argv, FLAGS)
    name, words = _model_of(words)
    console.set_up_logging()
    console.hide_progress_bars()
    output_dir = Path(given["--output-dir"]).expanduser() if "--output-dir" in given else None
    if output_dir is not None and output_dir.exists() and not output_dir.is_dir():
        raise UserError(f"--output-dir: {output_dir} is a file")
    result = evaluate_saved(name, words, given.get("--base"))
    print("\n".join(result.lines()))
    if output_dir is not None:
        print(f"\nWritten: {', '.join(map(str, _written(result, output_dir, words)))}")
    return EXIT_SUCCESS


def evaluate_saved(name: str, words: Sequence[str], base: str | None = None) -> EvalResult:
    """Measure the model called `name` by the configuration that a command line gives.

    Raises:
        UserError: the model, the configuration or the rows cannot be used.
    """
    from tuning.saved_model import find_model, quantizing_sections

    found = find_model(name, base)
    document = _document(words)
    fixed = {**_FIXED, **(quantizing_sections(document) if found.adapter is not None else {})}
    with tempfile.TemporaryDirectory(prefix="tune-evaluate-") as folder:
        config = _config(document, fixed, found, folder)
        result = _measure(config, found)
        if not config.evaluation.baseline:
            return result
        untrained = _base_of(found, document, name)
        scores = _measure(_config(document, fixed, untrained, folder), untrained).scores()
    baseline = {name: score for name, score in scores.items() if name not in (NUM_ROWS, NUM_LEFT_OUT)}
    return EvalResult(result.metrics, result.predictions, baseline, result.lm_eval)


def _model_of(words: list[str]) -> tuple[str, list[str]]:
    """Take the model, the first word that is neither a flag nor a setting, out of the words."""
    if not words or words[0].startswith("-") or "=" in words[0]:
        raise UserError("tune evaluate: expected a model's folder or Hub id first; see tune evaluate --help")
    return words[0], words[1:]


def _document(words: Sequence[str]) -> dict[str, Any]:
    loaded = load_ir(words)
    if loaded.problems:
        raise ConfigError(loaded.problems)
    values = dict(loaded.ir.values)
    data = dict(values.get("data") or {})
    if data.get("validation_data_path") and not any(data.get(name) for name in PARTED):
        data["training_data_path"] = data["validation_data_path"]  # the rows that were trained on may be gone
    elif not any(data.get(name) for name in PARTED):
        raise UserError("data.validation_data_path: there are no rows to measure on; give them, or validation_fraction")
    return {**values, "data": data}


def _config(document: Mapping[str, Any], fixed: Mapping[str, Any], found: SavedModel, folder: str) -> TuningConfig:
    from tuning.job import load_config

    training = {**(document.get("training") or {}), **fixed["training"], "output_dir": folder}
    training.pop("save_model_dir", None)
    model = {**(document.get("model") or {}), **found.settings()}
    config = load_config({**document, **fixed, "training": training, "model": model}).config
    if not config.data.validation_data_path and not config.data.validation_fraction and not config.data.datasets:
        raise UserError("data.validation_fraction: there are no rows to measure on; give validation_data_path")
    return config


def _base_of(found: SavedModel, document: Mapping[str, Any], name: str) -> SavedModel:
    """Tell what a model was before it was trained."""
    from tuning.saved_model import SavedModel

    if found.adapter is not None:
        return SavedModel(found.base, None, found.tokenizer)
    base = (document.get("model") or {}).get("model_name_or_path")
    if not isinstance(base, str) or Path(base).expanduser().resolve() == Path(name).expanduser().resolve():
        raise UserError("evaluation.baseline: name the base of this model with model_name_or_path")
    return SavedModel(base, None, found.tokenizer)


def _measure(config: TuningConfig, found: SavedModel) -> EvalResult:
    from tuning.measurement import lm_eval_results, measure

    trainer, questions, counts = _trainer(config, found)
    metrics, predictions = measure(trainer, config, questions)
    return EvalResult({**metrics, **counts}, predictions, lm_eval=lm_eval_results(trainer, config))


def _trainer(config: TuningConfig, found: SavedModel) -> tuple[ScoredTrainer, list[Question], dict[str, int]]:
    """Make a trainer that only evaluates, on the held-out rows; returns it with the questions and the rows' numbers."""
    from tuning.measurement import questions_for
    from tuning.preparation import encodings_of
    from tuning.tokenizer import load_tokenizer

    held_out = load_held_out(config.data, seed_of(config))
    tokenizer, additions = load_tokenizer(config)
    encoding = encodings_of(config, tokenizer).validation
    questions = questions_for(config, lambda: held_out.rows, encoding, tokenizer)
    dataset, counts = held_out_tokens(held_out, encoding)
    from tuning.arguments import sft_config
    from tuning.evaluation.scored_trainer import ScoredTrainer
    from tuning.saved_model import load_with_adapter

    model = load_with_adapter(config, found.adapter, tokenizer, additions)
    args, wants_f1 = sft_config(config), config.evaluation.token_f1
    try:
        trainer = ScoredTrainer(
            model, args, train_dataset=dataset, eval_dataset=dataset, processing_class=tokenizer, wants_f1=wants_f1
        )
    except (ValueError, ImportError) as error:
        raise UserError(f"TRL refuses this configuration: {error}") from error
    return trainer, questions, counts


def _written(result: EvalResult, folder: Path, words: Sequence[str]) -> list[Path]:
    file_format = load_ir(words).ir.get("evaluation.eval_save_format") or "json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return result.write(folder, file_format)
    except OSError as error:
        raise UserError(f"--output-dir: {folder} cannot be written: {error.strerror or error}") from error
