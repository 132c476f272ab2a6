from __future__ import annotations

import json

import pytest

from tuning.config.sections import Data
from tuning.data.formats import FORMATS, converter, recognise
from tuning.data.sources import Row, files_of, read_rows
from tuning.data.tasks import TASKS, Task, training_paths
from tuning.errors import DataError, UserError

LONG = ("instruction_fine_tuning", "code_generation", "chat_fine_tuning", "question_answering", "rag_fine_tuning")
SHORT = ("instruction", "code", "chat", "qa", "rag")


@pytest.mark.parametrize(("long", "short"), list(zip(LONG, SHORT, strict=True)))
def test_each_task_has_a_long_and_a_short_name(long: str, short: str) -> None:
    assert TASKS.load(long) is TASKS.load(short)


@pytest.mark.parametrize(
    ("task_type", "columns", "name"),
    [
        ("instruction", ["instruction", "input", "output"], "instruction"),
        ("instruction", ["instruction", "input", "response"], "instruction_response"),
        ("instruction", ["input", "output"], "input_output"),
        ("code", ["prompt", "completion"], "prompt_completion"),
        ("code", ["task_id", "prompt", "canonical_solution"], "solution"),
        ("code", ["instruction", "input", "output"], "instruction"),
        ("code", ["question", "answer"], "question_answering"),
        ("chat", ["messages"], "chat"),
        ("chat", ["conversations", "tools"], "sharegpt"),
        ("qa", ["context", "question", "answers"], "squad"),
        ("qa", ["question", "answer"], "question_answering"),
        ("rag", ["context", "question", "answer"], "question_answering"),
        ("rag", ["query", "passages", "answers", "wellFormedAnswers"], "ms_marco"),
        ("rag", ["contexts", "input", "targets"], "mtrag"),
        ("classification", ["text", "category"], "text_category"),
        ("classification", ["text", "label"], "text_label"),
        ("text", ["text", "prompt", "completion"], "text"),
    ],
)
def test_a_task_understands_rows_by_their_columns(task_type: str, columns: list[str], name: str) -> None:
    assert recognise(columns, Data(task_type=task_type)) == name


def test_every_format_of_every_task_is_registered() -> None:
    assert {name for task in TASKS.names() for name in TASKS.load(task).formats} <= set(FORMATS.names())


@pytest.mark.parametrize("task_type", SHORT)
def test_the_rows_that_a_task_brings_with_it_can_all_be_trained_on(task_type: str) -> None:
    data = Data(task_type=task_type)
    rows = [row for row in read_rows(training_paths(data)) if isinstance(row, Row)]
    convert = converter(data, list(rows[0].values))
    converted = [convert(row.values) for row in rows]
    assert len({json.dumps(row) for row in converted}) == len(rows) == 40


def test_the_code_that_a_task_brings_with_it_is_python() -> None:
    for row in read_rows(training_paths(Data(task_type="code"))):
        assert isinstance(row, Row)
        compile(row.values["prompt"] + row.values["completion"], row.place, "exec")


def test_given_rows_come_before_those_of_the_task() -> None:
    assert training_paths(Data(task_type="chat", training_data_path=["mine.jsonl"])) == ["mine.jsonl"]


@pytest.mark.parametrize("task_type", [None, "text"])
def test_without_rows_of_any_kind_there_is_nothing_to_train_on(task_type: str | None) -> None:
    with pytest.raises(DataError, match="training data is required"):
        training_paths(Data(task_type=task_type))


@pytest.mark.parametrize("task_type", SHORT)
def test_the_public_dataset_of_a_task_is_named_and_not_what_it_starts_with(task_type: str) -> None:
    hub_dataset = TASKS.load(task_type).hub_dataset
    assert hub_dataset is not None and files_of([hub_dataset]) is None
    assert files_of(training_paths(Data(task_type=task_type)))


def test_an_unknown_task_is_refused_with_a_suggestion() -> None:
    with pytest.raises(UserError, match="Did you mean 'code_generation'"):
        recognise(["text"], Data(task_type="code_generatoin"))


def test_a_task_of_ones_own_chooses_among_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TASKS, "_registered", {})
    TASKS.register("translation")(Task(("input_output",)))
    assert recognise(["input", "output"], Data(task_type="translation")) == "input_output"
