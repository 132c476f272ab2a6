"""Run tasks of lm-eval on a model that is in memory."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from tuning.errors import MissingExtraError, TuningError, UserError
from tuning.evaluation.generation import evaluating

logger = logging.getLogger(__name__)


def check_tasks(tasks: Sequence[str], include_path: str | None) -> None:
    """Look the tasks up, load their data, and ask the first question of each; imports lm-eval, which takes seconds.

    Raises:
        MissingExtraError: lm-eval is not installed.
        UserError: a task does not exist, or its data or its first question cannot be made.
    """
    known = _task_manager(include_path)
    missing = [task for task in tasks if not known.match_tasks([task])]
    if missing:
        where = f", nor in {include_path}" if include_path else ""
        raise UserError(f"evaluation.lm_eval_tasks: no task of lm-eval is called {', '.join(missing)}{where}")
    for name in tasks:
        with _faults_told([name]):
            for task in known.load([name])["tasks"].values():
                task.build_all_requests(limit=1, rank=0, world_size=1)


def run_tasks(
    model: Any, tokenizer: Any, tasks: Sequence[str], include_path: str | None, limit: int | None, batch_size: int
) -> dict[str, Any]:
    """Return lm-eval's results: for each task its metrics, such as `acc,none`.

    Raises:
        MissingExtraError: lm-eval is not installed.
        UserError: lm-eval fails at a task, such as one with a column that its rows do not have.
    """
    manager = _task_manager(include_path)
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    run, wrap = cast(Any, simple_evaluate), cast(Any, HFLM)  # both stand behind decorators without types
    wrapped = wrap(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
    with _faults_told(tasks), evaluating(model):
        found = run(wrapped, tasks=list(tasks), task_manager=manager, limit=limit, log_samples=False)
    return dict((found or {}).get("results", {}))


@contextmanager
def _faults_told(tasks: Sequence[str]) -> Iterator[None]:
    """Tell of any fault as one of the tasks: they are the user's, and run templates and functions of their own."""
    try:
        yield
    except TuningError:
        raise
    except Exception as error:
        cause = f"{type(error).__name__}: {error}"
        raise UserError(f"evaluation.lm_eval_tasks: lm-eval cannot run {', '.join(tasks)}: {cause}") from error


def _task_manager(include_path: str | None) -> Any:
    try:
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise MissingExtraError("lm_eval_tasks", "lm-eval", "lm-eval") from error
    folder = str(Path(include_path).expanduser().resolve()) if include_path else None
    return TaskManager(include_path=folder)
