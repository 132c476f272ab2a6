from __future__ import annotations

import csv
import json
import pickle
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from made_tokenizers import EOS, TOKENIZERS, encoding_of

from tuning.causal_lm import IGNORED_LABEL
from tuning.config.sections import Data
from tuning.data.encoding import Encoding
from tuning.data.rows import load_rows
from tuning.data.templates import CHATML
from tuning.data.tokenization import TokenRow
from tuning.errors import DataError

Answers = Callable[[Any], "list[list[str]]"]


def decoder(encoding: Encoding) -> Callable[[Sequence[int]], str]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(encoding.tokenizer)
    return lambda ids: tokenizer.decode(list(ids), skip_special_tokens=False)


def learned(row: TokenRow) -> Iterator[list[int]]:
    """Yield each stretch of tokens that the loss falls on."""
    stretch: list[int] = []
    for label in [*row.labels, IGNORED_LABEL]:
        if label != IGNORED_LABEL:
            stretch.append(label)
        elif stretch:
            yield stretch
            stretch = []


def raw_rows(path: Path) -> Any:
    """Read a file without the reader that is tested."""
    if path.suffix == ".csv":
        return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines(keepends=True)))
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines()]


def column(name: str) -> Answers:
    return lambda rows: [[row[name]] for row in rows]


def squad(document: Any) -> list[list[str]]:
    paragraphs = [paragraph for article in document["data"] for paragraph in article["paragraphs"]]
    return [[qa["answers"][0]["text"]] for paragraph in paragraphs for qa in paragraph["qas"]]


def assistant_turns(rows: Any) -> list[list[str]]:
    return [[turn["content"] for turn in row["messages"] if turn["role"] == "assistant"] for row in rows]


def share_gpt_turns(rows: Any) -> list[list[str]]:
    write = {
        "gpt": lambda text: text,
        "function_call": lambda text: f"<tool_call>{json.dumps(json.loads(text), ensure_ascii=False)}</tool_call>",
    }
    turns = [[(turn["from"], turn["value"]) for turn in row["conversations"]] for row in rows]
    return [[write[who](text) for who, text in row if who in write] for row in turns]


FILES: dict[str, tuple[dict[str, Any], Answers]] = {
    "chat_messages.jsonl": ({}, assistant_turns),
    "chat_sharegpt_tools.json": ({}, share_gpt_turns),
    "classify_banking77.csv": ({"task_type": "classification"}, column("category")),
    "code_instruct.json": ({}, column("response")),
    "code_mbpp.jsonl": ({}, column("canonical_solution")),
    "code_prompt_completion.jsonl": ({}, column("completion")),
    "instruct_roleplay.json": ({}, column("response")),
    "instruct_seed_tasks.jsonl": ({}, column("output")),
    "instruct_seed_tasks_nested.jsonl": (
        {},
        lambda rows: [[instance["output"]] for row in rows for instance in row["instances"]],
    ),
    "math_gsm8k_train.jsonl": ({}, column("answer")),
    "qa_context_question_answer.jsonl": ({}, column("answer")),
    "qa_squad_hf.jsonl": ({}, lambda rows: [[row["answers"]["text"][0]] for row in rows]),
    "qa_xquad_en.json": ({}, squad),
    "qa_xquad_zh.jsonl": ({}, column("answer")),
    "rag_context_question_answer.jsonl": ({}, column("answer")),
    "rag_msmarco_style.jsonl": ({}, lambda rows: [[row["answers"][0]] for row in rows]),
    "rag_mtrag.jsonl": ({}, lambda rows: [[row["targets"][0]["text"]] for row in rows]),
    "text_wikipedia.jsonl": ({}, column("text")),
}


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer", TOKENIZERS)
@pytest.mark.parametrize("name", FILES)
def test_the_labels_of_every_row_of_every_file_are_its_answers(shared_data: Path, name: str, tokenizer: str) -> None:
    settings, answers = FILES[name]
    rows = load_rows(Data(training_data_path=str(shared_data / name), **settings), seed=1)
    encoding = encoding_of(tokenizer)
    decode = decoder(encoding)
    found = [[decode(part) for part in learned(row)] for row in encoding.token_rows(row.values for row in rows.train)]
    if name == "text_wikipedia.jsonl" and tokenizer == "prefix_space":  # what is learned starts with the text itself
        found = [[part.removeprefix(" ") for part in row] for row in found]
    assert rows.skipped == [] and len(found) == len(rows.train)
    assert found == [[f"{answer}{EOS}" for answer in row] for row in answers(raw_rows(shared_data / name))]


@pytest.mark.slow
def test_every_file_of_the_sample_data_is_looked_at(shared_data: Path) -> None:
    there = {path.name for path in shared_data.iterdir() if path.suffix in (".json", ".jsonl", ".csv")}
    assert there == set(FILES)


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_a_row_is_its_prompt_as_it_is_in_generation_and_then_the_answer(tokenizer: str) -> None:
    from tokenizers import Tokenizer

    encoding = encoding_of(tokenizer)
    (row,) = encoding.token_rows([{"prompt": "The heron", "completion": " waits at 6"}])
    prompt = Tokenizer.from_str(encoding.tokenizer).encode("The heron").ids
    prompt = prompt[:-1] if tokenizer == "byte_level" else prompt  # the token that would end the prompt
    assert row.input_ids[: len(prompt)] == prompt
    assert decoder(encoding)(row.input_ids).lstrip().removeprefix("<s>").strip() == f"The heron waits at 6{EOS}"


def test_tokens_that_a_row_brings_stay_and_those_beyond_the_vocabulary_are_refused() -> None:
    encoding = encoding_of("byte_level")
    given = {"input_ids": [5, 6, 7], "labels": [IGNORED_LABEL, 6, 7]}
    assert list(encoding.token_rows([given])) == [TokenRow([5, 6, 7], given["labels"], 0)]
    with pytest.raises(DataError, match=r"input_ids: 100000 is no id of the tokenizer"):
        list(encoding.token_rows([{"input_ids": [5, 100_000]}]))


def test_tools_and_calls_of_them_are_written_and_the_calls_learned() -> None:
    call = {"type": "function", "function": {"name": "tide", "arguments": {"at": "noon"}}}
    messages = [{"role": "user", "content": "Tide?"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    encoding = encoding_of("byte_level")
    (row,) = encoding.token_rows([{"messages": messages, "tools": [{"function": {"name": "tide"}}]}])
    decode = decoder(encoding)
    assert decode(row.input_ids).startswith("<|im_start|>system") and '{"function": {"name": "tide"}}' in decode(
        row.input_ids
    )
    written = '<tool_call>{"name": "tide", "arguments": {"at": "noon"}}</tool_call></s>'
    assert [decode(part) for part in learned(row)] == [written]


def test_an_encoding_can_be_sent_to_another_process_and_keeps_its_fingerprint() -> None:
    encoding = encoding_of("byte_level", max_length=8)
    sent = pickle.loads(pickle.dumps(encoding))
    assert sent.fingerprint() == encoding.fingerprint()
    assert sent.fingerprint() != encoding_of("byte_level", max_length=9).fingerprint()
    assert list(sent.token_rows([{"text": "abc"}])) == list(encoding.token_rows([{"text": "abc"}]))


def test_a_tokenizer_of_transformers_gives_its_file_its_tokens_and_no_padding(tiny_config_only_model: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(tiny_config_only_model)
    expected = tokenizer("The heron waits").input_ids
    tokenizer("The heron waits", truncation=True, max_length=2, padding="max_length")
    encoding = Encoding.of(tokenizer, CHATML)
    assert (encoding.special_tokens["eos_token"], encoding.num_ids) == (EOS, len(tokenizer))
    assert encoding.encoder().encode(["The heron waits"], True) == [expected]
