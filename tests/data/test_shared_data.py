from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tuning.config.sections import Data
from tuning.data.formats import converter
from tuning.data.sources import Row, Skipped, read_rows
from tuning.errors import DataError
from tuning.sft_trainer import train

Answers = Callable[[Any], "list[str]"]


def loaded(path: Path, **settings: Any) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return the converted rows, and the reason for each that was left out, by where it stands in the file."""
    rows = list(read_rows([str(path)]))
    columns = next((list(row.values) for row in rows if isinstance(row, Row)), [])
    convert = converter(Data(**settings), columns) if columns else None
    found: list[dict[str, Any]] = []
    skipped = {}
    for row in rows:
        place = row.place.removeprefix(f"{path} ")
        try:
            if isinstance(row, Skipped):
                raise DataError(row.reason)
            assert convert is not None
            found.append(convert(row.values))
        except DataError as error:
            skipped[place] = str(error)
    return found, skipped


def raw_rows(path: Path) -> list[Any]:
    """Read a file without the reader that is tested."""
    if path.suffix == ".csv":
        return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines(keepends=True)))
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".json":
        return json.loads(text)
    return [json.loads(line) for line in text.splitlines()]


def learned(row: dict[str, Any]) -> list[str]:
    """Return the texts of a converted row that the loss falls on."""
    if "text" in row:
        return [row["text"]]
    if "messages" not in row and isinstance(row["completion"], str):
        return [row["completion"]]
    messages = row["messages"] if "messages" in row else row["completion"]
    return [said(message) for message in messages if message["role"] == "assistant"]


def said(message: dict[str, Any]) -> str:
    calls = [call["function"] for call in message.get("tool_calls", ())]
    return json.dumps(calls[0]) if calls else message["content"]


def column(name: str) -> Answers:
    return lambda rows: [row[name] for row in rows]


def squad_answers(document: dict[str, Any]) -> Iterator[str]:
    for article in document["data"]:
        for paragraph in article["paragraphs"]:
            yield from (qa["answers"][0]["text"] for qa in paragraph["qas"])


def assistant_turns(rows: list[Any]) -> list[str]:
    return [turn["content"] for row in rows for turn in row["messages"] if turn["role"] == "assistant"]


def share_gpt_turns(rows: list[Any]) -> list[str]:
    turns = [turn for row in rows for turn in row["conversations"]]
    answers = {"gpt": lambda text: text, "function_call": lambda text: json.dumps(json.loads(text))}
    return [answers[turn["from"]](turn["value"]) for turn in turns if turn["from"] in answers]


FILES: list[tuple[str, str, Answers, bool]] = [
    ("instruct_seed_tasks.jsonl", "instruction_fine_tuning", column("output"), True),
    (
        "instruct_seed_tasks_nested.jsonl",
        "instruction",
        lambda rows: [instance["output"] for row in rows for instance in row["instances"]],
        True,
    ),
    ("instruct_roleplay.json", "instruction_fine_tuning", column("response"), True),
    ("code_instruct.json", "code_generation", column("response"), True),
    ("code_mbpp.jsonl", "code_generation", column("canonical_solution"), True),
    ("code_prompt_completion.jsonl", "code", column("completion"), True),
    ("rag_mtrag.jsonl", "rag_fine_tuning", lambda rows: [row["targets"][0]["text"] for row in rows], True),
    ("rag_context_question_answer.jsonl", "rag_fine_tuning", column("answer"), True),
    ("rag_msmarco_style.jsonl", "rag", lambda rows: [row["answers"][0] for row in rows], True),
    ("chat_messages.jsonl", "chat_fine_tuning", assistant_turns, True),
    ("chat_sharegpt_tools.json", "chat", share_gpt_turns, True),
    ("qa_xquad_en.json", "question_answering", lambda document: list(squad_answers(document)), True),
    ("qa_context_question_answer.jsonl", "question_answering", column("answer"), True),
    ("qa_squad_hf.jsonl", "qa", lambda rows: [row["answers"]["text"][0] for row in rows], True),
    ("qa_xquad_zh.jsonl", "qa", column("answer"), True),
    ("text_wikipedia.jsonl", "text", column("text"), True),
    ("math_gsm8k_train.jsonl", "question_answering", column("answer"), True),
    # A label beside a text may as well be a note, so that only a task type says that it is what is learned.
    ("classify_banking77.csv", "classification", column("category"), False),
]
"""File, task type, the answers as they stand in the file, and whether the columns alone tell the same."""


@pytest.mark.parametrize(("name", "task_type", "answers", "columns_tell"), FILES, ids=[file[0] for file in FILES])
def test_every_row_of_every_file_teaches_its_answer(
    shared_data: Path, name: str, task_type: str, answers: Answers, columns_tell: bool
) -> None:
    expected = answers(raw_rows(shared_data / name))
    for settings in [{"task_type": task_type}, *([{}] if columns_tell else [])]:
        rows, skipped = loaded(shared_data / name, **settings)
        assert [text for row in rows for text in learned(row)] == expected
        assert not skipped


@pytest.mark.slow
@pytest.mark.parametrize(("name", "task_type"), [file[:2] for file in FILES], ids=[file[0] for file in FILES])
def test_every_file_trains_by_its_task_type_alone(
    shared_data: Path, tiny_model: Path, tmp_path: Path, name: str, task_type: str
) -> None:
    given = {"model_name_or_path": str(tiny_model), "training_data_path": str(shared_data / name)}
    small = {"max_steps": 1, "per_device_train_batch_size": 2, "validation_fraction": 0, "truncation_mode": "keep_end"}
    result = train({**given, **small, "task_type": task_type, "output_dir": str(tmp_path / "run")})
    assert result.global_step == 1
    assert 0 < result.metrics["train_loss"] < 10


def test_no_file_of_the_folder_is_left_out(shared_data: Path) -> None:
    data = {path.name for path in shared_data.iterdir() if path.suffix in (".json", ".jsonl", ".csv")}
    assert data == {file[0] for file in FILES}


def test_one_dataset_is_the_same_in_six_containers(shared_data: Path) -> None:
    expected = [row["answer"] for row in raw_rows(shared_data / "formats" / "a.jsonl")]
    for path in sorted((shared_data / "formats").iterdir()):
        rows, skipped = loaded(path, task_type="qa")
        assert [row["completion"] for row in rows] == expected, path.name
        assert not skipped


def test_the_tools_of_a_conversation_are_kept_for_its_template(shared_data: Path) -> None:
    raw = raw_rows(shared_data / "chat_sharegpt_tools.json")
    rows, _ = loaded(shared_data / "chat_sharegpt_tools.json", task_type="chat")
    assert [[tool["function"] for tool in row.get("tools", ())] for row in rows] == [
        json.loads(row["tools"]) for row in raw
    ]


def test_the_passages_and_earlier_turns_stand_in_the_prompt(shared_data: Path) -> None:
    raw = raw_rows(shared_data / "rag_mtrag.jsonl")
    rows, _ = loaded(shared_data / "rag_mtrag.jsonl", task_type="rag")
    for given, row in zip(raw, rows, strict=True):
        assert all(passage["text"] in row["prompt"][-1]["content"] for passage in given["contexts"])
        assert [turn["content"] for turn in row["prompt"][:-1]] == [turn["text"] for turn in given["input"][:-1]]


NOTHING_LEARNED = "column messages: no message of the assistant answers another, so nothing to train on"
GNARLY: list[tuple[str, str | None, int, dict[str, str]]] = [
    (
        "instruct.jsonl",
        "instruction",
        16,
        {
            "row 2": "column output: is empty",
            "row 3": "column instruction: is empty",
            "row 5": "column output: expected text, got NoneType",
            "row 7": "column output: is missing",
        },
    ),
    (
        "instruct_lone_surrogate.jsonl",
        "instruction",
        1,
        {"row 2": "column input: holds a lone surrogate, which no encoding can write"},
    ),
    (
        "instruct_mixed_types.jsonl",
        "instruction",
        1,
        {
            f"row {number}": f"column output: expected text, got {kind}"
            for number, kind in enumerate(("int", "float", "bool", "list", "dict", "int"), start=2)
        },
    ),
    ("instruct_bom_crlf.jsonl", "instruction", 5, {}),
    ("columns_dict.json", "instruction", 2, {}),
    ("wrapped.json", "instruction", 1, {}),
    ("empty.jsonl", "instruction", 0, {}),
    ("empty_array.json", "instruction", 0, {}),
    ("header_only.csv", "instruction", 0, {}),
    (
        "chat.jsonl",
        "chat",
        10,
        {
            "row 3": "column messages: expected a list of messages, got an empty one",
            "row 4": NOTHING_LEARNED,
            "row 5": NOTHING_LEARNED,
            "row 7": "messages[1]: is empty",
            "row 9": "messages[0]: unknown role 'narrator'",
            "row 14": "column messages: expected a list of messages, got none",
            "row 17": "column messages: expected a list of messages, got str",
        },
    ),
    (
        "pretokenized.jsonl",
        None,
        2,
        {
            "row 2": "column labels: every one is -100, so nothing to train on",
            "row 3": "column attention_mask: has 2 values where input_ids has 3",
            "row 4": "column input_ids: is empty",
            "row 6": "column input_ids: holds -1 at position 1",
        },
    ),
]
"""File, task type, number of rows that load, and why the others do not."""
REFUSED = [
    ("instruct_duplicate_key.jsonl", "row 1: the key instruction stands more than once; keep one"),
    ("instruct_latin1.jsonl", "not UTF-8 at byte 20 (line 1); save it as UTF-8"),
    ("dup_columns.csv", "the header names input more than once; rename one"),
    ("semicolon_ragged.csv", "row 1: has 3 cells where the header has 2; the last has no column"),
]


@pytest.mark.parametrize(("name", "task_type", "num_rows", "reasons"), GNARLY, ids=[file[0] for file in GNARLY])
def test_a_gnarly_file_loads_by_its_rules(
    shared_data: Path, name: str, task_type: str | None, num_rows: int, reasons: dict[str, str]
) -> None:
    rows, skipped = loaded(shared_data / "gnarly" / name, task_type=task_type)
    assert (len(rows), skipped) == (num_rows, reasons)


@pytest.mark.parametrize(("name", "told"), REFUSED, ids=[file[0] for file in REFUSED])
def test_a_gnarly_file_is_refused_by_name(shared_data: Path, name: str, told: str) -> None:
    with pytest.raises(DataError) as error:
        loaded(shared_data / "gnarly" / name, task_type="instruction")
    assert name in str(error.value)
    assert str(error.value).endswith(told)


def test_no_gnarly_file_is_left_out(shared_data: Path) -> None:
    stated = {file[0] for file in GNARLY} | {file[0] for file in REFUSED}
    assert {path.name for path in (shared_data / "gnarly").iterdir()} == stated


def test_nothing_is_changed_in_what_gnarly_rows_say(shared_data: Path) -> None:
    rows, _ = loaded(shared_data / "gnarly" / "instruct.jsonl", task_type="instruction")
    completions = [row["completion"] for row in rows]
    assert "tab\tcr\r\nlf\n" in completions and "  padded  \n\n" in completions
    assert "{{''.__class__}}" in completions and "### Response: real" in completions
    assert max(map(len, completions)) > 190_000


def test_the_odd_messages_of_the_gnarly_chats_are_read_by_their_rules(shared_data: Path) -> None:
    rows, _ = loaded(shared_data / "gnarly" / "chat.jsonl", task_type="chat")
    contents = [message["content"] for row in rows for message in row["messages"]]
    assert {"parts", "also parts", "ShareGPT keys under messages", "seed 001 says: roles and values"} <= set(contents)
    assert {message["role"] for row in rows for message in row["messages"]} == {"system", "user", "assistant", "tool"}
    assert any(message.get("tool_calls") for row in rows for message in row["messages"])
