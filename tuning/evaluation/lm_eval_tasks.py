"""Run tasks of lm-eval on a model that is in memory."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from tuning.errors import MissingExtraError, UserError
from tuning.evaluation.generation import evaluating

logger = logging.getLogger(__name__)


def check_tasks(tasks: Sequence[str], include_path: str | None) -> None:
    """Look the tasks up; imports lm-eval, which takes seconds.

    Raises:
        MissingExtraError: lm-eval is not installed.
        UserError: a task does not exist.
    """
    known = _task_manager(include_path)
    missing = [task for task in tasks if not known.match_tasks([task])]
    if missing:
        where = f", nor in {include_path}" if include_path else ""
        raise UserError(f"evaluation.lm_eval_tasks: no task of lm-eval is called {', '.join(missing)}{where}")


def run_tasks(
    model: Any, tokenizer: Any, tasks: Sequence[str], include_path: str | None, limit: int | None, batch_size: int
) -> dict[str, Any]:
    """Return lm-eval's results: for each task its metrics, such as `acc,none`.

    Raises:
        MissingExtraError: lm-eval is not installed.
        UserError: lm-eval refuses a task, such as one whose data cannot be loaded.
    """
    manager = _task_manager(include_path)
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    run, wrap = cast(Any, simple_evaluate), cast(Any, HFLM)  # both stand behind decorators without types
    wrapped = wrap(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
    try:
        with evaluating(model):
            found = run(wrapped, tasks=list(tasks), task_manager=manager, limit=limit, log_samples=False)
    except (ValueError, OSError, KeyError) as error:
        raise UserError(f"evaluation.lm_eval_tasks: lm-eval cannot run {', '.join(tasks)}: {error}") from error
    return dict((found or {}).get("results", {}))


def _task_manager(include_path: str | None) -> Any:
    try:
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise MissingExtraError("lm_eval_tasks", "lm-eval", "lm-eval") from error
    folder = str(Path(include_path).expanduser().resolve()) if include_path else None
    return TaskManager(include_path=folder)
