"""Whether an evaluation can take place, told before anything is read or loaded."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from tuning.config.schema import TuningConfig
from tuning.errors import MissingExtraError, Problem, UserError
from tuning.registry import did_you_mean

_METRICS = "evaluation.generation_metrics"
_TASKS = "evaluation.lm_eval_tasks"
_TOKEN_SCORES = ("loss", "perplexity", "token_accuracy", "mean_token_accuracy")
_F1_SCORES = ("token_f1_micro", "token_f1_macro")
_SHARDING = ("ACCELERATE_USE_FSDP", "ACCELERATE_USE_DEEPSPEED")
"""What `accelerate launch` says of a model that it has sharded."""


def unusable_evaluation(config: TuningConfig) -> Iterator[Problem]:
    """Name metrics that do not exist, packages that are missing, leave that was not given, what cannot be measured."""
    section = config.evaluation
    for name in section.generation_metrics or ():
        yield from _metric_problems(name, section.allow_code_execution)
    if section.lm_eval_tasks and importlib.util.find_spec("lm_eval") is None:
        missing = MissingExtraError("lm_eval_tasks", "lm-eval", "lm-eval")
        yield Problem(_TASKS, str(missing), section.lm_eval_tasks)
    if section.lm_eval_include_path is not None and not Path(os.path.expanduser(section.lm_eval_include_path)).is_dir():
        yield Problem("evaluation.lm_eval_include_path", "there is no such folder", section.lm_eval_include_path)
    if section.lm_eval_tasks and _is_sharded(config):
        told = "a model that is sharded over processes (fsdp, deepspeed) cannot be given to lm-eval"
        yield Problem(_TASKS, told, section.lm_eval_tasks, hint="Measure the saved model with tune evaluate.")
    yield from _unknown_best_metric(config)


def _is_sharded(config: TuningConfig) -> bool:
    training = dict(config.training)
    launched = any(os.environ.get(name, "").lower() in ("1", "true") for name in _SHARDING)
    return bool(training["fsdp"] or training["deepspeed"]) or launched


def _unknown_best_metric(config: TuningConfig) -> Iterator[Problem]:
    """Refuse to look for the best model by a score that no evaluation during training gives."""
    training = dict(config.training)
    name = training["metric_for_best_model"]
    known = [*_TOKEN_SCORES, *(_F1_SCORES if config.evaluation.token_f1 else ())]
    if name is None or training["eval_strategy"] == "no" or name.removeprefix("eval_") in known:
        return
    if name.removeprefix("eval_") in _F1_SCORES:
        hint = "Leave token_f1=false out to have it measured."
    else:
        hint = f"{did_you_mean(name.removeprefix('eval_'), known)} All other scores are measured at the end only."
    yield Problem("training.metric_for_best_model", "expected a score over tokens", name, hint=hint)


def _metric_problems(name: str, may_run_code: bool) -> Iterator[Problem]:
    from tuning.evaluation.code_execution import unlockable  # most runs ask the model nothing
    from tuning.evaluation.generation_metrics import GENERATION_METRICS

    try:
        metric = GENERATION_METRICS.load(name)
    except UserError as error:
        yield Problem(_METRICS, f"expected names of metrics; {error}", name)
        return
    for package in metric.packages:
        if importlib.util.find_spec(package) is None:
            yield Problem(_METRICS, str(MissingExtraError(f"the metric '{name}'", package, "eval")), name)
    if not metric.runs_code:
        return
    if not may_run_code:
        hint = "Set allow_code_execution=true to allow it, in a process that can only compute."
        yield Problem(_METRICS, f"'{name}' runs code that the model wrote, which is not allowed", name, hint=hint)
    elif (reason := unlockable()) is not None:
        yield Problem(_METRICS, f"'{name}' runs generated code in a process that is locked down: {reason}", name)


def rows_to_ask(config: TuningConfig) -> Iterator[Problem]:
    """Refuse questions without held-out rows. For a completed configuration: the recommender may hold some out."""
    section, data = config.evaluation, config.data
    parts = (dataset.split for dataset in data.datasets or ())
    if data.validation_data_path or data.validation_fraction or any(part and part.validation for part in parts):
        return
    hint = "Give validation_data_path, or validation_fraction above 0."
    if section.generation_metrics:
        yield Problem(_METRICS, "needs held-out rows, and there are none", hint=hint)
    if section.baseline:
        yield Problem("evaluation.baseline", "needs held-out rows, and there are none", hint=hint)
