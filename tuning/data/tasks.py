"""Task types: which shapes of rows each understands, and the dataset that it starts with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tuning.config.sections import Data
from tuning.errors import DataError, Problem
from tuning.registry import Registry, did_you_mean

_DEFAULT_DATASETS = Path(__file__).parent / "default_datasets"


@dataclass(frozen=True)
class Task:
    """What rows teach: the data formats that they may have, the more telling one first."""

    formats: tuple[str, ...]
    default_dataset: str | None = None
    """File of rows that is shipped with this package; None: there is none."""
    hub_dataset: str | None = None
    """Public dataset on the Hub; read only where it is given as a path."""

    @property
    def default_path(self) -> Path | None:
        """Return where the default dataset stands; None where there is none."""
        return _DEFAULT_DATASETS / self.default_dataset if self.default_dataset else None


_ANSWERS = ("squad", "question_answering")
INSTRUCTION = Task(("instruction", "instruction_response", "input_output"), "instruction.jsonl", "yahma/alpaca-cleaned")
CODE = Task(
    ("prompt_completion", "solution", *INSTRUCTION.formats, "question_answering"),
    "code.jsonl",
    "glaiveai/glaive-code-assistant-v2",
)
CHAT = Task(("chat", "sharegpt"), "chat.jsonl", "Crystalcareai/Code-feedback-sharegpt-renamed")
QUESTION_ANSWERING = Task(_ANSWERS, "question_answering.jsonl", "mou3az/Question-Answering-Generation-Choices")
RAG = Task(("ms_marco", "mtrag", *_ANSWERS), "rag.jsonl", "microsoft/ms_marco")
CLASSIFICATION = Task(("text_category", "text_label"))
TEXT = Task(("text",))

_BUILTIN = {
    "instruction_fine_tuning": "tuning.data.tasks:INSTRUCTION",
    "instruction": "tuning.data.tasks:INSTRUCTION",
    "code_generation": "tuning.data.tasks:CODE",
    "code": "tuning.data.tasks:CODE",
    "chat_fine_tuning": "tuning.data.tasks:CHAT",
    "chat": "tuning.data.tasks:CHAT",
    "question_answering": "tuning.data.tasks:QUESTION_ANSWERING",
    "qa": "tuning.data.tasks:QUESTION_ANSWERING",
    "rag_fine_tuning": "tuning.data.tasks:RAG",
    "rag": "tuning.data.tasks:RAG",
    "classification": "tuning.data.tasks:CLASSIFICATION",
    "text": "tuning.data.tasks:TEXT",
}
TASKS: Registry[Task] = Registry("task type", _BUILTIN, "tuning.task_types")


def unusable_tasks(data: Data) -> Iterator[Problem]:
    """Name every task type that is not known, and one without rows of its own where no others are given."""
    given = [("data", data.task_type)]
    given += [(f"data.datasets[{number}]", dataset.task_type) for number, dataset in enumerate(data.datasets or ())]
    for where, task_type in given:
        if task_type is not None and task_type not in TASKS.names():
            hint = did_you_mean(task_type, TASKS.names())
            yield Problem(f"{where}.task_type", f"there is no task type '{task_type}'", hint=hint)
    has_rows = data.training_data_path or data.datasets or data.data_config_path
    if not has_rows and data.task_type in TASKS.names() and TASKS.load(str(data.task_type)).default_path is None:
        told = f"training data is required; task_type {data.task_type} has no rows of its own"
        yield Problem("data.training_data_path", told, hint="Give a file, folder or Hub id.")


def training_paths(data: Data) -> list[str]:
    """Return the paths of the training rows: the given ones, else the default dataset of the task.

    Raises:
        DataError: no path is given, and the task has no default dataset.
    """
    if data.training_data_path:
        return list(data.training_data_path)
    path = TASKS.load(data.task_type).default_path if data.task_type else None
    if path is None:
        raise DataError("data.training_data_path: training data is required; give a file, folder or Hub id")
    return [str(path)]
