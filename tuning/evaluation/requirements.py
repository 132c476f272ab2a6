"""Whether an evaluation can take place, told before anything is read or loaded."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from tuning.config.schema import TuningConfig
from tuning.errors import MissingExtraError, Problem, UserError
from tuning.evaluation.code_execution import unlockable
from tuning.evaluation.generation_metrics import GENERATION_METRICS, GenerationMetric

_METRICS = "evaluation.generation_metrics"
_TASKS = "evaluation.lm_eval_tasks"


def unusable_evaluation(config: TuningConfig) -> Iterator[Problem]:
    """Name metrics that do not exist, packages that are missing, and leave that was not given to run code."""
    section = config.evaluation
    for name in section.generation_metrics or ():
        try:
            metric = GENERATION_METRICS.load(name)
        except UserError as error:
            yield Problem(_METRICS, f"expected names of metrics; {error}", name)
            continue
        yield from _metric_problems(name, metric, section.allow_code_execution)
    if section.lm_eval_tasks and importlib.util.find_spec("lm_eval") is None:
        missing = MissingExtraError("lm_eval_tasks", "lm-eval", "lm-eval")
        yield Problem(_TASKS, str(missing), section.lm_eval_tasks)
    if section.lm_eval_include_path is not None and not Path(section.lm_eval_include_path).expanduser().is_dir():
        yield Problem("evaluation.lm_eval_include_path", "there is no such folder", section.lm_eval_include_path)


def _metric_problems(name: str, metric: GenerationMetric, may_run_code: bool) -> Iterator[Problem]:
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
