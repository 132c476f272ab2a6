from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tuning.data.encoding import Encoding
from tuning.data.sources import Row
from tuning.data.templates import CHATML
from tuning.errors import UserError
from tuning.evaluation.questions import Question, last_answer, questions_of, rows_with_tests, spread


@pytest.fixture
def tokenizer(tiny_config_only_model: Path) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(tiny_config_only_model / "tokenizer.json"))


def asked(tokenizer: Any, *rows: dict[str, Any], max_length: int | None = None) -> list[Question]:
    names = {"bos_token": "<s>", "eos_token": "</s>"}
    encoding = Encoding(tokenizer.to_str(), names, CHATML, tokenizer.get_vocab_size(), max_length)

    def decode(ids: Sequence[int]) -> str:
        return tokenizer.decode(list(ids))

    return questions_of([Row(f"rows row {number}", row) for number, row in enumerate(rows)], encoding, decode)


def test_a_question_is_what_stands_before_the_answer(tokenizer: Any) -> None:
    (question,) = asked(tokenizer, {"prompt": "What is 12 + 30?", "completion": " 42"})
    assert tokenizer.decode(question.prompt_ids) == question.prompt == "What is 12 + 30?"
    assert (question.answer, question.place) == (" 42", "rows row 0")


def test_an_answer_is_whole_though_training_cuts_it(tokenizer: Any) -> None:
    (question,) = asked(tokenizer, {"prompt": "a b c", "completion": " one two three four"}, max_length=4)
    assert question.answer == " one two three four"


def test_of_a_conversation_the_last_answer_is_asked_for(tokenizer: Any) -> None:
    turns = [("user", "first"), ("assistant", "one"), ("user", "second"), ("assistant", "two")]
    (question,) = asked(tokenizer, {"messages": [{"role": role, "content": text} for role, text in turns]})
    assert question.answer == "two"
    assert tokenizer.decode(question.prompt_ids, skip_special_tokens=False).endswith("<|im_start|>assistant\n")
    assert "one" in question.prompt


def test_tokens_are_asked_by_their_labels(tokenizer: Any) -> None:
    ids = tokenizer.encode("one two three").ids
    (question,) = asked(tokenizer, {"input_ids": ids, "labels": [-100, *ids[1:]]})
    assert list(question.prompt_ids) == ids[:1]
    assert question.answer == tokenizer.decode(ids[1:])


def test_a_text_without_a_prompt_is_refused(tokenizer: Any) -> None:
    with pytest.raises(UserError, match="rows row 0 has no prompt"):
        asked(tokenizer, {"text": "all of it"})


def test_the_last_answer_is_the_last_run_of_labels() -> None:
    assert last_answer([-100, 1, 2, -100, 3, -100]) == (4, 5)
    assert last_answer([-100, -100]) == (0, 0)


def test_rows_are_chosen_evenly() -> None:
    rows = [Row(str(number), {}) for number in range(10)]
    assert [row.place for row in spread(rows, 5)] == ["0", "2", "4", "6", "8"]
    assert spread(rows, 20) == rows


def test_tests_are_read_from_the_rows_themselves(tmp_path: Path) -> None:
    file = tmp_path / "code.jsonl"
    file.write_text("".join(json.dumps({"prompt": "a", "test": test}) + "\n" for test in ("first", None)))
    found = rows_with_tests([([str(file)], "train")], [f"{file} row 1"])
    assert found[f"{file} row 1"].values["test"] == "first"
    with pytest.raises(UserError, match="row 2 has none"):
        rows_with_tests([([str(file)], "train")], [f"{file} row 2"])


def test_tests_are_read_from_the_split_of_each_dataset(tmp_path: Path) -> None:
    for name in ("train", "test"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"prompt": "a", "test": f"of {name}"}) + "\n")
    place = f"{tmp_path / 'test.jsonl'} row 1"
    assert rows_with_tests([([str(tmp_path)], "test")], [place])[place].values["test"] == "of test"
    with pytest.raises(UserError, match=r"test\.jsonl row 1 has none"):
        rows_with_tests([([str(tmp_path)], "train")], [place])


REFUSED = {"input_ids": [5, 10**6], "labels": [-100, 10**6]}


def test_rows_that_cannot_be_asked_are_counted(tokenizer: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert len(asked(tokenizer, REFUSED, {"input_ids": [5, 6], "labels": [-100, 6]})) == 1
    assert "1 of 2 rows cannot be asked; the first: rows row 0: column input_ids" in caplog.text
    with pytest.raises(UserError, match="1 of 1 rows cannot be asked"):
        asked(tokenizer, REFUSED)
